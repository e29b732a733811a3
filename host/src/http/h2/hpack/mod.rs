//! HPACK (RFC 7541): the fields of heads as HTTP/2 writes them. Each direction of a connection has a table of what was said in it
//! lately, so blocks are to be read and written in the order in which they pass.

mod decode;
mod encode;
mod huffman;
mod known;
mod table;

pub use decode::{Decoder, Malformed};
pub use encode::Encoder;

/// What a table counts for a field beside its text (RFC 7541, 4.1).
const A_FIELD: usize = 32;

/// Bytes of a table as they are counted: what each side begins with (RFC 9113, 6.5.2), and the most that ours have.
const TABLE: usize = 4_096;

/// An integer whose first byte has `bits` bits for it, beside those of `first` (RFC 7541, 5.1).
fn write_integer(first: u8, bits: u32, number: usize, out: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if number < most {
        out.push(first | number as u8);
        return;
    }
    out.push(first | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(String, String)>;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Pairs, Malformed> {
        let mut all = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        decoder.decode(block, |name, value| all.push((text(name), text(value))))?;
        Ok(all)
    }

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        let list = list.iter();
        list.map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.bytes().filter(|b| *b != b' ').collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 7541, C.3 and C.4: three requests, without and with Huffman's code.
    #[test]
    fn the_requests_of_the_standard() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let short = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        let common = |scheme, path| {
            pairs(&[
                (":method", "GET"),
                (":scheme", scheme),
                (":path", path),
                (":authority", "www.example.com"),
            ])
        };
        let expected = [
            common("http", "/"),
            [common("http", "/"), pairs(&[("cache-control", "no-cache")])].concat(),
            [
                common("https", "/index.html"),
                pairs(&[("custom-key", "custom-value")]),
            ]
            .concat(),
        ];
        for blocks in [plain, short] {
            let mut decoder = Decoder::default();
            for (block, expected) in blocks.iter().zip(&expected) {
                assert_eq!(decoded(&mut decoder, &bytes(block)).unwrap(), *expected);
            }
        }
    }

    /// RFC 7541, C.6: three answers, for which the table is too small.
    #[test]
    fn the_answers_of_the_standard() {
        let blocks = [
            "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ];
        let answer = |status, date| {
            pairs(&[
                (":status", status),
                ("cache-control", "private"),
                ("date", date),
                ("location", "https://www.example.com"),
            ])
        };
        let first = "Mon, 21 Oct 2013 20:13:21 GMT";
        let expected = [
            answer("302", first),
            answer("307", first),
            [
                answer("200", "Mon, 21 Oct 2013 20:13:22 GMT"),
                pairs(&[
                    ("content-encoding", "gzip"),
                    (
                        "set-cookie",
                        "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                    ),
                ]),
            ]
            .concat(),
        ];
        let mut decoder = Decoder::default();
        for (block, expected) in blocks.iter().zip(&expected) {
            assert_eq!(decoded(&mut decoder, &bytes(block)).unwrap(), *expected);
        }
    }

    /// Whatever is said, the other side reads what was meant, and what is said again becomes short.
    #[test]
    fn what_is_written_is_read() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let long = "v".repeat(5_000);
        let mut sizes = Vec::new();
        for turn in 0..200 {
            let id = turn.to_string();
            let other = format!("x-{}", turn % 70);
            let fields = [
                ("server", "nginx"),
                ("content-type", "text/html; charset=utf-8"),
                ("x-request-id", &*id),
                ("set-cookie", "a=b"),
                (&*other, &*id),
                ("x-empty", ""),
                ("x-long", if turn % 9 == 0 { &*long } else { "short" }),
            ];
            if turn == 100 {
                encoder.bound(200);
            }
            if turn == 150 {
                encoder.bound(70_000);
            }
            let mut block = Vec::new();
            encoder.status(200, &mut block);
            for (name, value) in fields {
                encoder.field(name.as_bytes(), value.as_bytes(), &mut block);
            }
            sizes.push(block.len());
            let expected = [pairs(&[(":status", "200")]), pairs(&fields)].concat();
            assert_eq!(decoded(&mut decoder, &block).unwrap(), expected, "{turn}");
        }
        assert!(sizes[1] > 80 && sizes[5] < 50, "{sizes:?}");
    }

    #[test]
    fn what_no_block_may_hold_is_malformed() {
        let cases = [
            ("80", "there is no field 0"),
            ("be", "nothing stands in the table yet"),
            ("ff ff ff ff ff ff ff 7f", "a number without an end"),
            ("ff", "a number that breaks off"),
            ("40", "a name that breaks off"),
            ("40 0a 61", "a name that is shorter than it says"),
            ("40 01 61 05 61", "a value that is shorter than it says"),
            ("3f e1 7f", "a table larger than we granted"),
            ("82 20", "a table's size behind a field"),
            ("40 81 ff 01 61", "padding of eight bits"),
            ("40 81 00 01 61", "padding of zeros"),
            ("40 84 ff ff ff ff 01 61", "the end within a text"),
        ];
        for (block, why) in cases {
            assert!(
                decoded(&mut Decoder::default(), &bytes(block)).is_err(),
                "{why}"
            );
        }
    }
}
