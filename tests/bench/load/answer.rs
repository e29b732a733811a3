//! Reads answers as they arrive, and no more of them than where they end: a load must cost little.

/// An answer that is being read; afterwards the next.
#[derive(Default)]
pub struct Answer {
    head: Vec<u8>,
    /// Bytes of the body that are still to come, once the head is there.
    left: Option<usize>,
}

impl Answer {
    /// Takes the next bytes; true when they end the answer. Errors, in words: what is no complete 200 with a length.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, &'static str> {
        let left = match self.left {
            Some(left) => left
                .checked_sub(bytes.len())
                .ok_or("more than the body's length"),
            None => match self.head_ends(bytes) {
                None => return Ok(false),
                Some(end) => length(&self.head[..end])?
                    .checked_sub(self.head.len() - end)
                    .ok_or("more than the body's length"),
            },
        }?;
        self.left = (left > 0).then_some(left);
        if left == 0 {
            self.head.clear();
        }
        Ok(left == 0)
    }

    fn head_ends(&mut self, bytes: &[u8]) -> Option<usize> {
        // The empty line may lie across two reads.
        let from = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(bytes);
        let at = self.head[from..]
            .windows(4)
            .position(|w| w == b"\r\n\r\n")?;
        Some(from + at + 4)
    }
}

fn length(head: &[u8]) -> Result<usize, &'static str> {
    let head = std::str::from_utf8(head).map_err(|_| "a head that is no text")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err("another status than 200");
    }
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or("no length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn any_split_of_the_bytes_ends_at_the_same_place() {
        for first in 1..WHOLE.len() {
            let mut answer = Answer::default();
            assert_eq!(answer.take(&WHOLE[..first]), Ok(false), "{first}");
            assert_eq!(answer.take(&WHOLE[first..]), Ok(true), "{first}");
            assert_eq!(answer.take(WHOLE), Ok(true), "the next answer");
        }
    }

    #[test]
    fn what_is_no_complete_200_is_an_error() {
        for wrong in [
            &b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        ] {
            assert!(Answer::default().take(wrong).is_err());
        }
    }
}
