//! A server that a prober speaks with.

use crate::prober::Wire;

/// What it says, and what it answers. It closes once it has said all.
#[derive(Clone, Debug, Default)]
pub struct FakePeer {
    says: Vec<u8>,
    answers: Vec<(Vec<u8>, Vec<u8>)>,
    asked: Vec<u8>,
    pieces: Option<usize>,
    breaks: bool,
}

impl FakePeer {
    /// One that says nothing until it is asked.
    pub fn silent() -> FakePeer {
        FakePeer::default()
    }

    /// One that speaks first.
    pub fn saying(greeting: impl AsRef<[u8]>) -> FakePeer {
        FakePeer {
            says: greeting.as_ref().to_vec(),
            ..FakePeer::default()
        }
    }

    /// Asked this, it answers that; questions come in this order, and any other fails the test.
    pub fn answering(mut self, question: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) -> FakePeer {
        let (question, answer) = (question.as_ref().to_vec(), answer.as_ref().to_vec());
        self.answers.push((question, answer));
        self
    }

    /// What it says arrives in pieces of so many bytes at most.
    pub fn in_pieces_of(mut self, bytes: usize) -> FakePeer {
        self.pieces = Some(bytes.max(1));
        self
    }

    /// The connection breaks where it would close.
    pub fn breaking(mut self) -> FakePeer {
        self.breaks = true;
        self
    }
}

impl Wire for FakePeer {
    fn send(&mut self, data: &[u8]) -> Result<(), String> {
        self.asked.extend_from_slice(data);
        let Some((question, _)) = self.answers.first() else {
            panic!(
                "the prober sends {:?}, and nothing more is expected",
                self.asked.escape_ascii().to_string()
            );
        };
        assert!(
            question.starts_with(&self.asked),
            "the prober sends {:?}; expected is {:?}",
            self.asked.escape_ascii().to_string(),
            question.escape_ascii().to_string()
        );
        if *question == self.asked {
            let (_, answer) = self.answers.remove(0);
            self.says.extend(answer);
            self.asked.clear();
        }
        Ok(())
    }

    fn receive(&mut self, most: u32) -> Result<Vec<u8>, String> {
        if self.says.is_empty() && self.breaks {
            return Err("Connection reset by peer".to_owned());
        }
        let most = self.pieces.unwrap_or(usize::MAX).min(most as usize);
        let rest = self.says.split_off(most.min(self.says.len()));
        Ok(std::mem::replace(&mut self.says, rest))
    }
}
