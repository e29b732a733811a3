//! Huffman's code (RFC 7541, 5.2 and Appendix B), for reading: what we write is plain, since to say something again costs a byte
//! anyhow.
//!
//! The code is canonical: codes of a length are numbers in a row, in the order of their symbols, and longer ones go on where
//! shorter ones end. So it follows from the lengths alone.

/// Bits of each byte's code, and of the end's.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// The symbol that ends a text; it may not be said.
const END: u16 = 256;
const LONGEST: usize = 30;
/// Codes of so many bits or fewer are looked up at once; nearly all of what heads hold has such.
const SHORT: u32 = 10;

struct Code {
    /// Symbols by the order of their codes.
    symbols: [u16; 257],
    /// By length: the first code, shifted up to the 32nd bit, of those that are longer; where the codes of that length begin among
    /// the symbols, and the first of them.
    ends: [u64; LONGEST + 1],
    begins: [(u16, u32); LONGEST + 1],
    /// By the next bits: a symbol and its length; 0 is a longer one.
    short: [(u8, u8); 1 << SHORT],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut all = Code {
        symbols: [0; 257],
        ends: [0; LONGEST + 1],
        begins: [(0, 0); LONGEST + 1],
        short: [(0, 0); 1 << SHORT],
    };
    let (mut next, mut known, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        all.begins[length] = (known as u16, next);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                if length <= SHORT as usize {
                    let mut at = (next as usize) << (SHORT as usize - length);
                    let end = (next as usize + 1) << (SHORT as usize - length);
                    while at < end {
                        all.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                all.symbols[known] = symbol as u16;
                known += 1;
                next += 1;
            }
            symbol += 1;
        }
        all.ends[length] = (next as u64) << (32 - length);
        next <<= 1;
        length += 1;
    }
    all
}

/// Appends the text that these bytes stand for. None: they stand for none.
pub fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.reserve(bytes.len() * 8 / 5 + 1);
    // The next bits, from the highest on; behind the last there are ones, as padding has it.
    let (mut bits, mut have) = (0_u64, 0_u32);
    let mut rest = bytes;
    loop {
        while have <= 56 {
            let Some((first, others)) = rest.split_first() else {
                break;
            };
            bits |= u64::from(*first) << (56 - have);
            have += 8;
            rest = others;
        }
        let ahead = bits | (u64::MAX.checked_shr(have).unwrap_or(0));
        let (mut symbol, mut length) = {
            let (symbol, length) = CODE.short[(ahead >> (64 - SHORT)) as usize];
            (u16::from(symbol), u32::from(length))
        };
        if length == 0 {
            (symbol, length) = long(ahead >> 32)?;
        }
        if length > have {
            // Less than a byte of padding, all ones.
            return (have < 8 && ahead == u64::MAX).then_some(());
        }
        if symbol == END {
            return None;
        }
        out.push(symbol as u8);
        bits <<= length;
        have -= length;
    }
}

/// The symbol at the beginning of 32 bits whose code is not short.
fn long(ahead: u64) -> Option<(u16, u32)> {
    let length = (SHORT as usize + 1..=LONGEST).find(|length| ahead < CODE.ends[*length])?;
    let (begin, first) = CODE.begins[length];
    let at = usize::from(begin) + ((ahead >> (32 - length)) as usize - first as usize);
    Some((CODE.symbols[at], length as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written as the standard has it, a bit at a time.
    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let at = CODE.symbols.iter().position(|s| *s == u16::from(*byte));
            let (begin, first) = CODE.begins[length];
            let code = first as usize + at.unwrap() - usize::from(begin);
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(true);
        }
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        assert_eq!(CODE.begins[5], (0, 0));
        assert_eq!(CODE.symbols[0], u16::from(b'0'));
        assert_eq!(CODE.symbols[256], END, "all ones");
        let hex = |bytes: Vec<u8>| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        assert_eq!(hex(encoded(b"www.example.com")), "f1e3c2e5f23a6ba0ab90f4ff");
        assert_eq!(hex(encoded(b"302")), "6402");
        assert_eq!(hex(encoded(b"\0")), "ffc7");
    }

    #[test]
    fn every_text_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 0..all.len() {
            for text in [&all[..length], &all[length..]] {
                let mut out = Vec::new();
                decode(&encoded(text), &mut out).unwrap();
                assert_eq!(out, text);
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let mut bytes = vec![0_u8; 7];
        let mut seed = 1_u64;
        for _ in 0..100_000 {
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 56) as u8 | if seed & 1 << 40 == 0 { 0xf0 } else { 0 };
            }
            let mut out = Vec::new();
            if decode(&bytes, &mut out).is_some() {
                assert_eq!(encoded(&out), bytes, "there is one way to say a text");
            }
        }
    }
}
