//! As much of Redis's protocol (RESP2) as a probe needs: commands, and answers that are a text or an error.

use tidegate_sdk::ProbeStream;

/// Bytes of a line that begins an answer.
const MOST_LINE: usize = 1 << 10;

/// A command and its arguments, as an array of bulk strings.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes += &format!("${}\r\n{word}\r\n", word.len());
    }
    bytes.into_bytes()
}

/// A text, simple or bulk, of that many bytes at most. `Err` has Redis's own words where it answers with an error.
pub fn answer(stream: &mut ProbeStream, most: usize) -> Result<Vec<u8>, String> {
    let line = stream.line(MOST_LINE)?;
    let other = || "it does not speak Redis's protocol".to_owned();
    let (kind, rest) = line.split_first().ok_or_else(other)?;
    match kind {
        b'+' => Ok(rest.to_vec()),
        b'-' => Err(String::from_utf8_lossy(rest).into_owned()),
        b'$' => {
            let length = std::str::from_utf8(rest).ok().and_then(|n| n.parse().ok());
            let length: usize = length.filter(|length| *length <= most).ok_or_else(other)?;
            let mut text = stream.exactly(length + 2)?;
            text.truncate(length);
            Ok(text)
        }
        _ => Err(other()),
    }
}
