//! What Magika reads of a file: a kibibyte from its beginning and one from its end, without the blanks around them.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use crate::shared::Result;

const PART: usize = 1024;
/// Bytes among which each part is found.
const BLOCK: u64 = 4096;
/// In the place of a byte that is not there.
const PADDING: u16 = 256;
/// Of fewer bytes the network is not asked.
const LEAST: u64 = 8;

/// 0 to 255, or 256 for none.
pub(crate) type Tokens = Vec<u16>;

/// Both parts, or None if there is too little to read.
pub(crate) fn tokens(path: &Path) -> Result<Option<Tokens>> {
    let read = || -> std::io::Result<(u64, Vec<u8>, Vec<u8>)> {
        let mut file = File::open(path)?;
        let (size, mut begin, mut end) = (file.metadata()?.len(), Vec::new(), Vec::new());
        file.by_ref().take(BLOCK).read_to_end(&mut begin)?;
        file.seek(SeekFrom::Start(size.saturating_sub(BLOCK)))?;
        file.take(BLOCK).read_to_end(&mut end)?;
        Ok((size, begin, end))
    };
    let (size, begin, end) = read().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((size >= LEAST).then(|| parts(&begin, &end)).filter(|tokens| tokens[LEAST as usize - 1] != PADDING))
}

fn parts(begin: &[u8], end: &[u8]) -> Tokens {
    let begin = begin.iter().copied().skip_while(is_blank).map(u16::from).chain(std::iter::repeat(PADDING));
    let end = end.iter().rev().copied().skip_while(is_blank).map(u16::from).chain(std::iter::repeat(PADDING));
    let mut tokens: Tokens = end.take(PART).collect();
    tokens.reverse();
    begin.take(PART).chain(tokens).collect()
}

/// As Python strips them: with the vertical tab, which Rust does not count.
fn is_blank(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || *byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_stripped_at_their_outer_ends_and_padded_at_their_inner_ones() {
        let all = parts(b"\x0b \n\tab c\n", b"\nab c \r\x0b\x0c");
        assert_eq!(all.len(), 2 * PART);
        let of = |text: &[u8]| text.iter().copied().map(u16::from).collect::<Vec<_>>();
        assert_eq!((&all[..5], all[5]), (&of(b"ab c\n")[..], PADDING));
        assert_eq!((&all[2 * PART - 5..], all[2 * PART - 6]), (&of(b"\nab c")[..], PADDING));
        let long: Vec<u8> = (0..=255).cycle().take(4096).collect();
        assert_eq!(parts(&long, &long), [of(&long[..PART]), of(&long[3 * 1024..])].concat());
    }
}
