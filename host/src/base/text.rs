//! Short texts that need no memory of their own.

use std::fmt::{self, Write};
use std::ops::Deref;

/// At most `N` bytes of UTF-8, N up to 255.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// As it is displayed; what is longer is cut.
    pub fn of(value: impl fmt::Display) -> Text<N> {
        let mut text = Text::default();
        // Full is not an error of whoever is displayed.
        let _ = write!(text, "{value}");
        text
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let begin = usize::from(self.length);
        let fits = more.floor_char_boundary(N - begin);
        self.bytes[begin..begin + fits].copy_from_slice(&more.as_bytes()[..fits]);
        self.length += fits as u8;
        if fits == more.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        const { assert!(N <= u8::MAX as usize, "the length is a byte") };
        Text {
            length: 0,
            bytes: [0; N],
        }
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        Text::of(text)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(&*Text::<4>::of(1234), "1234");
        assert_eq!(&*Text::<4>::from("abcé"), "abc");
        assert_eq!(&*Text::<4>::from(""), "");
        let longest = std::net::Ipv6Addr::from_bits(u128::MAX);
        assert_eq!(&*Text::<39>::of(longest), longest.to_string());
    }
}
