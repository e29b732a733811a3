//! How far a probe came, and what HAProxy calls that: its `check_status` and `check_desc`.

/// How far a probe came, as HAProxy has it for `check_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub layer: Layer,
    pub end: End,
    /// Of the answer; 0: there was none.
    pub status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Connection,
    Tls,
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    /// Not within the probe's `timeout`.
    TimedOut,
    /// No connection, no TLS with it, no answer that could be understood.
    Failed,
    /// An answer, but not one that was expected.
    Unexpected,
}

impl Outcome {
    pub fn new(layer: Layer, end: End) -> Outcome {
        Outcome {
            layer,
            end,
            status: 0,
        }
    }

    /// What was made of it in the end: whoever judges it may have overruled what was seen.
    pub fn as_judged(self, passed: bool) -> Outcome {
        let end = match (passed, self.end) {
            (true, _) => End::Passed,
            (false, End::Passed) => End::Unexpected,
            (false, end) => end,
        };
        Outcome { end, ..self }
    }

    /// HAProxy's word for it.
    pub fn word(self) -> &'static str {
        match (self.layer, self.end) {
            (Layer::Connection, End::Passed) => "L4OK",
            (Layer::Connection, End::TimedOut) => "L4TOUT",
            (Layer::Connection, _) => "L4CON",
            (Layer::Tls, End::Passed) => "L6OK",
            (Layer::Tls, End::TimedOut) => "L6TOUT",
            (Layer::Tls, _) => "L6RSP",
            (Layer::Answer, End::Passed) => "L7OK",
            (Layer::Answer, End::TimedOut) => "L7TOUT",
            (Layer::Answer, End::Failed) => "L7RSP",
            (Layer::Answer, End::Unexpected) => "L7STS",
        }
    }

    /// HAProxy's sentence for it.
    pub fn sentence(self) -> &'static str {
        match (self.layer, self.end) {
            (Layer::Connection, End::Passed) => "Layer4 check passed",
            (Layer::Connection, End::TimedOut) => "Layer4 timeout",
            (Layer::Connection, _) => "Layer4 connection problem",
            (Layer::Tls, End::Passed) => "Layer6 check passed",
            (Layer::Tls, End::TimedOut) => "Layer6 timeout",
            (Layer::Tls, _) => "Layer6 invalid response",
            (Layer::Answer, End::Passed) => "Layer7 check passed",
            (Layer::Answer, End::TimedOut) => "Layer7 timeout",
            (Layer::Answer, End::Failed) => "Layer7 invalid response",
            (Layer::Answer, End::Unexpected) => "Layer7 wrong status",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_judges_has_the_last_word() {
        let status = Outcome {
            status: 503,
            ..Outcome::new(Layer::Answer, End::Unexpected)
        };
        let words = |passed: bool| status.as_judged(passed).word();
        assert_eq!([words(true), words(false)], ["L7OK", "L7STS"]);
        let fine = Outcome::new(Layer::Answer, End::Passed).as_judged(false);
        assert_eq!(fine.word(), "L7STS");
        let late = Outcome::new(Layer::Tls, End::TimedOut).as_judged(false);
        assert_eq!((late.word(), late.sentence()), ("L6TOUT", "Layer6 timeout"));
    }
}
