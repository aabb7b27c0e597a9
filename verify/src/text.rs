//! Prints and parses cases: `m=3 n=5 k=7 activation=gelu_erf saved=z dx=set ...`. A key that is left out has its default.

use std::{fmt, str::FromStr};

use elbow::{
    Dropout, Error, Gate, Jet, Operand, ResidualAt, Result, Want,
    request::{Below, Front, Returning, SecondGradients, Statistics},
};

use crate::{
    second::Second,
    spec::{Data, Spec, default_of},
};

/// The words for the values of an enum.
trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, v)| *v == self).map_or("?", |(word, _)| word)
    }

    fn read(text: &str) -> Result<Self> {
        let words = || Self::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, v)| *v).ok_or_else(|| bad(&words(), text))
    }
}

macro_rules! words {
    ($type:ty: $($word:literal = $value:expr),+) => {
        impl Words for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
        }
    };
}

words!(bool: "no" = false, "yes" = true);
words!(Data: "integers" = Data::Integers, "normal" = Data::Normal, "lognormal" = Data::Lognormal, "huge" = Data::Huge,
    "alternating" = Data::Alternating);

/// A case whose text is none.
pub(crate) fn bad(expected: &str, got: &str) -> Error {
    Error::Operand { operand: Operand::Tensor, expected: format!("in a case: {expected}"), got: format!("{got:?}") }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let l = &self.forward;
        write!(f, "m={} n={} k={} activation={} saved={}", l.m, l.n, l.k, l.activation, l.saved.name())?;
        let usual = Spec::new(1, 1, 1, l.activation);
        let (g, u) = (self.gradients, usual.gradients);
        let mut say = |name: &str, word: &str, usual: &str| match word == usual {
            true => Ok(()),
            false => write!(f, " {name}={word}"),
        };
        say("layout", l.layout.name(), "out_in")?;
        say("alpha", l.alpha.name(), "constant")?;
        say("bias", l.bias.word(), "yes")?;
        say("residual", l.residual.map_or("no", ResidualAt::name), "no")?;
        say("row_weight", l.row_weight.word(), "no")?;
        say("jet", &jet_word(l.jet), "no")?;
        say("gate", &l.gate.map_or("no".into(), |gate: Gate| gate.to_string()), "no")?;
        say("front", &l.front.map_or("no".into(), front_word), "no")?;
        say("dropout", &dropout_word(l.dropout), "no")?;
        say("statistics", &statistics_word(&l.statistics), "no")?;
        say("dx", g.x.name(), u.x.name())?;
        say("dw", g.w.name(), u.w.name())?;
        say("db", g.b.name(), u.b.name())?;
        say("dalpha", g.alpha.name(), "no")?;
        say("dresidual", g.residual.name(), "no")?;
        say("drow_weight", g.row_weight.name(), "no")?;
        say("dscale", g.scale.name(), "no")?;
        say("dshift", g.shift.name(), "no")?;
        say("dfront_alpha", g.front_alpha.name(), "no")?;
        say("dw_up", g.w_up.name(), "no")?;
        say("db_up", g.b_up.name(), "no")?;
        say("skip", self.skip.word(), "no")?;
        if let Some(b) = &self.below {
            let wants = [b.db, b.dalpha, b.drow_weight].map(Want::name);
            let [jet, dropout] = [jet_word(b.jet), dropout_word(b.dropout)];
            let parts = [&[b.alpha.name(), b.saved.name(), b.row_weight.word()][..], &wants, &[&jet, &dropout]]
                .concat()
                .join("/");
            say("below", &format!("{}/{parts}", b.activation), "")?;
        }
        if let Some(second) = &self.second {
            let there = second.there().map(bool::word);
            say("second", &[&there[..], &second.wants().map(Want::name)].concat().join("/"), "")?;
        }
        say("strategy", self.pin.strategy.name(), "auto")?;
        say("tile", &self.pin.tile.map_or(String::new(), |t| t.to_string()), "")?;
        say("splits", &self.pin.splits.map_or(String::new(), |s| s.to_string()), "")?;
        say("misalign", &self.misalign.to_string(), "0")?;
        say("data", self.data.word(), "normal")?;
        say("dtype", self.dtype.name(), "f32")?;
        say("gap", &self.gap.to_string(), "0")?;
        say("shared", self.shared.word(), "no")?;
        say("seed", &self.seed.to_string(), "0")
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut spec = Spec::new(1, 1, 1, default_of(0));
        for token in text.split_whitespace() {
            let (key, value) = token.split_once('=').ok_or_else(|| bad("key=value", token))?;
            let l = &mut spec.forward;
            let g = &mut spec.gradients;
            match key {
                "m" => l.m = number(value)?,
                "n" => l.n = number(value)?,
                "k" => l.k = number(value)?,
                "activation" => l.activation = value.parse()?,
                "saved" => l.saved = value.parse()?,
                "layout" => l.layout = value.parse()?,
                "alpha" => l.alpha = value.parse()?,
                "bias" => l.bias = bool::read(value)?,
                "residual" => l.residual = if value == "no" { None } else { Some(value.parse()?) },
                "row_weight" => l.row_weight = bool::read(value)?,
                "jet" => l.jet = jet(value)?,
                "gate" => l.gate = if value == "no" { None } else { Some(value.parse()?) },
                "front" => l.front = if value == "no" { None } else { Some(front(value)?) },
                "dropout" => l.dropout = dropout(value)?,
                "statistics" => l.statistics = statistics(value)?,
                "dx" => g.x = value.parse()?,
                "dw" => g.w = value.parse()?,
                "db" => g.b = value.parse()?,
                "dalpha" => g.alpha = value.parse()?,
                "dresidual" => g.residual = value.parse()?,
                "drow_weight" => g.row_weight = value.parse()?,
                "dscale" => g.scale = value.parse()?,
                "dshift" => g.shift = value.parse()?,
                "dfront_alpha" => g.front_alpha = value.parse()?,
                "dw_up" => g.w_up = value.parse()?,
                "db_up" => g.b_up = value.parse()?,
                "skip" => spec.skip = bool::read(value)?,
                "below" => spec.below = Some(below(value)?),
                "second" => spec.second = Some(second(value)?),
                "strategy" => spec.pin.strategy = value.parse()?,
                "tile" => spec.pin.tile = Some(number(value)?),
                "splits" => spec.pin.splits = Some(number(value)?),
                "misalign" => spec.misalign = number(value)?,
                "data" => spec.data = Data::read(value)?,
                "dtype" => spec.dtype = value.parse()?,
                "gap" => spec.gap = number(value)?,
                "shared" => spec.shared = bool::read(value)?,
                "seed" => spec.seed = number(value)?,
                _ => return Err(bad("a key such as m, n, k, activation, saved, dx, tile, data, dtype, seed", key)),
            }
        }
        Ok(spec)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| bad("a number", text))
}

fn below(text: &str) -> Result<Below> {
    let [activation, alpha, saved, row_weight, db, dalpha, drow_weight, jets, left]: [&str; 9] = text
        .split('/')
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| bad("below=activation/alpha/saved/row_weight/db/dalpha/drow_weight/jet/dropout", text))?;
    Ok(Below::new(activation.parse()?, saved.parse()?)
        .alpha(alpha.parse()?)
        .row_weight(bool::read(row_weight)?)
        .db(db.parse()?)
        .dalpha(dalpha.parse()?)
        .drow_weight(drow_weight.parse()?)
        .jet(jet(jets)?)
        .dropout(dropout(left)?))
}

fn second(text: &str) -> Result<Second> {
    let words: Vec<&str> = text.split('/').collect();
    let [x, w, b, alpha, residual, wants @ ..] = &words[..] else { return Err(bad(SECOND, text)) };
    let [x, w, b, alpha, residual] = [x, w, b, alpha, residual].map(|word| bool::read(word));
    let returning = Returning::default().x(x?).w(w?).b(b?).alpha(alpha?).residual(residual?);
    let [dy, x, w, b, alpha, residual] = wants else { return Err(bad(SECOND, text)) };
    let gradients = SecondGradients::default().dy(dy.parse()?).x(x.parse()?).w(w.parse()?).b(b.parse()?);
    Ok(Second { returning, gradients: gradients.alpha(alpha.parse()?).residual(residual.parse()?) })
}

const SECOND: &str = "second=ddx/ddw/ddb/ddalpha/ddresidual/ddy/dx2/dw2/db2/dalpha2/dresidual2";

fn front_word(front: Front) -> String {
    let norm = front.norm.map_or("no".into(), |norm| norm.to_string());
    let words = [front.alpha.name(), front.scale.word(), front.shift.word(), front.running.word()];
    format!("{}/{}/{norm}", front.activation, words.join("/"))
}

fn front(text: &str) -> Result<Front> {
    let expected = "front=activation/alpha/scale/shift/running/norm";
    let parts: Vec<&str> = text.split('/').collect();
    let [activation, alpha, scale, shift, running, norm] = parts[..] else { return Err(bad(expected, text)) };
    let norm = if norm == "no" { None } else { Some(norm.parse()?) };
    let front = Front::new(activation.parse()?).alpha(alpha.parse()?).norm(norm).running(bool::read(running)?);
    Ok(front.scale(bool::read(scale)?).shift(bool::read(shift)?))
}

fn statistics_word(statistics: &Statistics) -> String {
    let Statistics { channels, rows, around, firing, negative_mass, .. } = *statistics;
    let there = [channels, rows, around, firing, negative_mass];
    let words: Vec<&str> =
        STATISTICS.into_iter().zip(there).filter(|(_, there)| *there).map(|(word, _)| word).collect();
    if words.is_empty() { "no".into() } else { words.join("+") }
}

fn statistics(text: &str) -> Result<Statistics> {
    let there = |word: &str| text.split('+').any(|one| one == word);
    if text != "no" && !text.split('+').all(|word| STATISTICS.contains(&word)) {
        return Err(bad(&format!("no, or some of {} with + between", STATISTICS.join(", ")), text));
    }
    let [channels, rows, around, firing, negative_mass] = STATISTICS.map(there);
    let statistics = Statistics::NONE.channels(channels).rows(rows).around(around);
    Ok(statistics.firing(firing).negative_mass(negative_mass))
}

const STATISTICS: [&str; 5] = ["channels", "rows", "around", "firing", "negative_mass"];

fn dropout_word(dropout: Option<Dropout>) -> String {
    dropout.map_or("no".into(), |dropout| dropout.p().to_string())
}

fn dropout(text: &str) -> Result<Option<Dropout>> {
    if text == "no" { Ok(None) } else { Dropout::new(number(text)?).map(Some) }
}

fn jet_word(jet: Option<Jet>) -> String {
    jet.map_or("no".into(), |jet| jet.to_string())
}

fn jet(text: &str) -> Result<Option<Jet>> {
    if text == "no" { Ok(None) } else { text.parse().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Numbers, any_exact, any_real};

    #[test]
    fn every_case_prints_and_reads_back() {
        let mut numbers = Numbers::new(1);
        for index in 0..500 {
            let any = if index % 2 == 0 { any_exact } else { any_real };
            let spec = any(&mut numbers, index, &[0, 3]).sized(index, 2, 3);
            assert_eq!(spec.to_string().parse(), Ok(spec), "{spec}");
        }
        assert!("m=3 n=x".parse::<Spec>().is_err() && "m".parse::<Spec>().is_err() && "q=1".parse::<Spec>().is_err());
    }
}
