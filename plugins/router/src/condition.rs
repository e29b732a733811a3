//! What a route asks of a request beside its host and path. A condition speaks of a value by the number under which the
//! plugin declared it.

/// The values of a request by number.
pub trait Values {
    fn value(&self, input: usize) -> Option<&[u8]>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub input: usize,
    pub test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    OneOf(Vec<Vec<u8>>),
    Present,
    Absent,
}

impl Condition {
    pub fn holds(&self, values: &impl Values) -> bool {
        crate::effort::step();
        match (&self.test, values.value(self.input)) {
            (Test::OneOf(wanted), Some(value)) => wanted.iter().any(|w| w == value),
            (Test::OneOf(_), None) => false,
            (Test::Present, value) => value.is_some(),
            (Test::Absent, value) => value.is_none(),
        }
    }

    /// The values it waits for, when it names any.
    pub fn wanted(&self) -> Option<&[Vec<u8>]> {
        match &self.test {
            Test::OneOf(wanted) => Some(wanted),
            Test::Present | Test::Absent => None,
        }
    }
}
