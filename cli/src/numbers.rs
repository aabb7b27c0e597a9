//! Numbers as text.

use elbow_measure::Estimate;

/// Milliseconds and half of the interval, such as `1.62 ±3%`.
pub(crate) fn ms(time: &Estimate) -> String {
    format!("{} {}", digits(time.median * 1e3), spread(time))
}

/// Half of the interval as a share of the median.
pub(crate) fn spread(estimate: &Estimate) -> String {
    match 100.0 * estimate.spread() {
        share if share < 99.5 => format!("±{share:.0}%"),
        _ => "±>99%".into(),
    }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How many times: `3.1x`, `310x`.
pub(crate) fn times(factor: f64) -> String {
    if factor < 9.95 { format!("{factor:.1}x") } else { format!("{factor:.0}x") }
}

/// Three significant digits.
pub(crate) fn digits(value: f64) -> String {
    let size = value.abs();
    let places = if size >= 100.0 || size == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        // Three digits of 0.00123 are five places.
        (2 - size.log10().floor() as i32).clamp(3, 9) as usize
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_enough() {
        for (value, text) in
            [(1234.5, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123"), (0.001234, "0.00123"), (0.0, "0")]
        {
            assert_eq!(digits(value), text);
        }
        assert_eq!([1.04, 9.94, 9.96, 123.4].map(times), ["1.0x", "9.9x", "10x", "123x"]);
    }

    #[test]
    fn a_spread_is_never_longer_than_its_column() {
        let of = |high: f64| Estimate { median: 1e-3, low: 1e-3, high, samples: 9 };
        assert_eq!((ms(&of(1.06e-3)), ms(&of(0.2))), ("1.00 ±3%".into(), "1.00 ±>99%".into()));
        assert_eq!(ms(&of(f64::NAN)), "1.00 ±>99%", "NaN is no small number");
    }
}
