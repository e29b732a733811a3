//! Reads the fenced blocks of a Markdown document, so that tests can run what a README tells people to do.

use std::fs;
use std::path::Path;

/// The blocks of a document, in order.
pub struct Document {
    pub blocks: Vec<Block>,
}

/// A fenced block. `language` is what stands after the fence.
#[derive(Clone, Debug)]
pub struct Block {
    pub language: String,
    pub text: String,
    /// The line of its opening fence, from 1.
    pub line: usize,
}

impl Block {
    /// The name under which the reader is to save it: `file=NAME` after the language.
    pub fn file(&self) -> Option<&str> {
        self.language
            .split_whitespace()
            .find_map(|word| word.strip_prefix("file="))
    }
}

impl Document {
    #[track_caller]
    pub fn read(path: &Path) -> Document {
        Document::parse(
            &fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        )
    }

    pub fn parse(text: &str) -> Document {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        for (number, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), open) {
                (Some(language), false) => {
                    let language = language.trim().to_owned();
                    blocks.push(Block {
                        language,
                        text: String::new(),
                        line: number + 1,
                    });
                    open = true;
                }
                (Some(_), true) => open = false,
                (None, true) => {
                    let block = blocks.last_mut().expect("one was pushed as it opened");
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, false) => {}
            }
        }
        Document { blocks }
    }
}

/// Whether the text is what the pattern says. `…` stands for any characters of a line; a line that is only `…` for any
/// lines. White space at line ends doesn't count.
pub fn matches(pattern: &str, text: &str) -> bool {
    let lines = |text: &str| {
        text.trim_end()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    match_lines(&lines(pattern), &lines(text))
}

fn match_lines(pattern: &[String], text: &[String]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((line, rest)) if line == "…" => {
            (0..=text.len()).any(|skipped| match_lines(rest, &text[skipped..]))
        }
        Some((line, rest)) => text
            .split_first()
            .is_some_and(|(first, others)| match_line(line, first) && match_lines(rest, others)),
    }
}

fn match_line(pattern: &str, line: &str) -> bool {
    let mut pieces = pattern.split('…');
    let first = pieces.next().unwrap_or("");
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in middle {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn patterns() {
    assert!(matches("a … c\n…\nlast", "a b c\nx\ny\nlast\n"));
    assert!(matches("…", ""));
    assert!(!matches("a\nb", "a"));
    assert!(!matches("a", "ab"));
    assert!(matches("a…", "ab"));
}
