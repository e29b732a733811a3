//! What a pure plugin has answered, by what it was told: asked the same again, it need not be called.
//!
//! An instance has a memo of its own for each kind of call, so a swap, a change of its settings or a fault forgets everything.
//! An answer has one place, which the hash of its inputs names, and the latest takes it: so clients that never send the same
//! twice cost no more than the memory of all places.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::hook::{Choice, Decision, Edit, Input, Interest, Note, Outcome, ResponseOutcome, Step};

use super::guest::Random;
use super::interest::Values;

/// Answers of one kind. A power of two.
const PLACES: usize = 512;

/// Bytes of the inputs of an answer that is kept.
const MOST_INPUTS: usize = 256;

/// Bytes of such an answer.
const MOST_ANSWER: usize = 512;

/// Stands for an absent value: a length that none has.
const ABSENT: u32 = u32::MAX;

/// A memo for each kind of call whose answers may come again.
pub(super) struct Memos {
    pub(super) route: Option<Memo<Choice>>,
    pub(super) request: Option<Memo<Step>>,
    pub(super) response: Option<Memo<ResponseOutcome>>,
}

pub(super) struct Memo<A> {
    /// Nobody outside can choose inputs that take each other's places.
    seed: u64,
    /// The inputs that were asked about last, and the place of their answer.
    asked: Vec<u8>,
    at: usize,
    /// Empty until there is an answer to keep.
    places: Vec<Option<Box<Entry<A>>>>,
}

struct Entry<A> {
    inputs: Box<[u8]>,
    answer: A,
}

/// An answer that may be kept.
pub(super) trait Kept: Clone {
    /// None: it is more than an answer, or too large.
    fn bytes(&self) -> Option<usize>;
}

impl Memos {
    pub(super) fn of(interest: &Interest) -> Memos {
        let request = interest.pure && comes_again(&interest.request);
        let response = interest.pure && comes_again(&interest.response);
        Memos {
            route: request.then(Memo::new),
            request: request.then(Memo::new),
            response: response.then(Memo::new),
        }
    }
}

/// Hardly two requests have the same id, or the same port.
fn comes_again(inputs: &[Input]) -> bool {
    let once = |input: &Input| matches!(input, Input::RequestId | Input::ClientPort);
    !inputs.iter().any(once)
}

impl<A: Kept> Memo<A> {
    fn new() -> Memo<A> {
        Memo {
            seed: Random::new().next(),
            asked: Vec::new(),
            at: 0,
            places: Vec::new(),
        }
    }

    /// The answer to these inputs, if it is known.
    #[inline]
    pub(super) fn find(&mut self, values: &Values<'_>) -> Option<&A> {
        self.asked.clear();
        for value in values {
            let length = value.as_ref().map_or(ABSENT, |value| value.len() as u32);
            self.asked.extend_from_slice(&length.to_le_bytes());
            let rest = MOST_INPUTS.saturating_sub(self.asked.len());
            match value.as_deref() {
                Some(value) if value.len() > rest => return self.find_none(),
                Some(value) => self.asked.extend_from_slice(value),
                None => {}
            }
        }
        self.at = xxh3_64_with_seed(&self.asked, self.seed) as usize % PLACES;
        match self.places.get(self.at) {
            Some(Some(entry)) if *entry.inputs == *self.asked => Some(&entry.answer),
            _ => None,
        }
    }

    /// Too much was told: what is answered is not kept.
    #[cold]
    fn find_none(&mut self) -> Option<&A> {
        self.at = PLACES;
        None
    }

    /// Keeps the answer to the inputs that were asked about last.
    pub(super) fn keep(&mut self, answer: &A) {
        let small = answer.bytes().is_some_and(|bytes| bytes <= MOST_ANSWER);
        if self.at == PLACES || !small {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        self.places[self.at] = Some(Box::new(Entry {
            inputs: self.asked.as_slice().into(),
            answer: answer.clone(),
        }));
    }
}

impl Kept for Choice {
    fn bytes(&self) -> Option<usize> {
        of_outcome(&self.outcome)
    }
}

impl Kept for Step {
    fn bytes(&self) -> Option<usize> {
        match self {
            Step::Done(outcome) => of_outcome(outcome),
            Step::Fetch(..) | Step::DoneAndFetch(..) | Step::LookUp(..) => None,
        }
    }
}

impl Kept for ResponseOutcome {
    fn bytes(&self) -> Option<usize> {
        Some(of_edits(&self.edits) + of_notes(&self.notes))
    }
}

fn of_outcome(outcome: &Outcome) -> Option<usize> {
    let reply = match &outcome.decision {
        Decision::Reply(reply) => {
            let fields = reply.headers.iter();
            let fields: usize = fields.map(|(n, v)| n.as_str().len() + v.len()).sum();
            fields + reply.body.len()
        }
        Decision::Next | Decision::Pool(_) => 0,
    };
    let words = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let rest = words(&outcome.path) + words(&outcome.reason);
    Some(reply + rest + of_edits(&outcome.edits) + of_notes(&outcome.notes))
}

fn of_edits(edits: &[Edit]) -> usize {
    let of_edit = |edit: &Edit| match edit {
        Edit::Set(name, value) | Edit::Append(name, value) => name.as_str().len() + value.len(),
        Edit::Remove(name) => name.as_str().len(),
        Edit::SetCookie(name, value) => name.len() + value.len(),
    };
    edits.iter().map(of_edit).sum()
}

fn of_notes(notes: &[Note]) -> usize {
    let of_note = |note: &Note| note.name.len() + note.value.len();
    notes.iter().map(of_note).sum()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::base::ids::RouteIndex;
    use crate::hook::Reply;

    fn values<'a>(values: &[Option<&'a str>]) -> Values<'a> {
        let owned = |value: &Option<&'a str>| value.map(|v| Cow::Borrowed(v.as_bytes()));
        values.iter().map(owned).collect()
    }

    fn route(number: u32) -> Choice {
        Choice {
            route: Some(RouteIndex(number)),
            ..Choice::default()
        }
    }

    /// None: it would have to be asked.
    fn known(memo: &mut Memo<Choice>, told: &[Option<&str>]) -> Option<u32> {
        memo.find(&values(told))?.route.map(|route| route.0)
    }

    fn keep(memo: &mut Memo<Choice>, told: &[Option<&str>], answer: &Choice) {
        if memo.find(&values(told)).is_none() {
            memo.keep(answer);
        }
    }

    #[test]
    fn the_same_values_have_the_same_answer_and_no_others() {
        let told: [&[Option<&str>]; 7] = [
            &[Some("/a"), Some("b")],
            &[Some("/ab"), Some("")],
            &[Some("/ab"), None],
            &[None, Some("/ab")],
            &[Some(""), Some("/ab")],
            &[Some("/ab")],
            &[],
        ];
        for (number, one) in told.iter().enumerate() {
            let mut memo = Memo::new();
            assert_eq!(known(&mut memo, one), None);
            keep(&mut memo, one, &route(number as u32));
            for (other, values) in told.iter().enumerate() {
                let expected = (number == other).then_some(number as u32);
                assert_eq!(known(&mut memo, values), expected, "{one:?} {values:?}");
            }
        }
    }

    #[test]
    fn there_are_only_so_many_and_the_latest_stay() {
        let mut memo = Memo::new();
        for number in 0..10_000 {
            let path = format!("/{number}");
            keep(&mut memo, &[Some(&path)], &route(number));
            assert_eq!(known(&mut memo, &[Some(&path)]), Some(number));
        }
        let kept = memo.places.iter().flatten().count();
        assert!(memo.places.len() == PLACES && kept > PLACES / 2, "{kept}");
    }

    #[test]
    fn what_is_large_is_not_kept() {
        let mut memo = Memo::new();
        let long = "/".repeat(MOST_INPUTS - 3);
        keep(&mut memo, &[Some(&long)], &route(1));
        assert_eq!(known(&mut memo, &[Some(&long)]), None);
        keep(&mut memo, &[Some(&long[1..])], &route(1));
        assert_eq!(known(&mut memo, &[Some(&long[1..])]), Some(1));
        let mut reply = route(1);
        reply.outcome.decision = Decision::Reply(Box::new(Reply {
            status: 200,
            headers: Vec::new(),
            body: vec![b'x'; MOST_ANSWER + 1],
        }));
        keep(&mut memo, &[Some("/")], &reply);
        assert_eq!(known(&mut memo, &[Some("/")]), None);
        assert_eq!(Step::LookUp(Vec::new(), 0).bytes(), None);
    }

    #[test]
    fn only_a_pure_plugins_answers_are_kept_and_only_what_may_come_again() {
        let interest = |pure, request: &[Input], response: &[Input]| {
            let memos = Memos::of(&Interest {
                request: request.to_vec(),
                response: response.to_vec(),
                key: Vec::new(),
                pure,
            });
            assert_eq!(memos.route.is_some(), memos.request.is_some());
            (memos.request.is_some(), memos.response.is_some())
        };
        assert_eq!(interest(false, &[], &[]), (false, false));
        assert_eq!(
            interest(true, &[Input::Path], &[Input::Status]),
            (true, true)
        );
        assert_eq!(interest(true, &[Input::RequestId], &[]), (false, true));
        assert_eq!(interest(true, &[], &[Input::ClientPort]), (true, false));
    }
}
