//! The routes that share a host and a path, told apart by their conditions. A short list is tried in order of rank. A long one
//! is split by the value that most of its routes name (a tenant's header, the method), so that a thousand routes on one
//! path cost two look-ups and not a thousand comparisons.
//!
//! Routes that only ask whether something is present or absent name no value and stay in a list.

use crate::condition::{Condition, Values};
use crate::effort;
use crate::hash::HashMap;

/// Up to this many routes a list is as quick as a look-up.
const FEW: usize = 8;

/// A route as the index holds it; its place among all candidates is its rank, the best first.
#[derive(Debug)]
pub struct Candidate {
    pub route: usize,
    pub conditions: Vec<Condition>,
}

#[derive(Debug)]
pub enum Choices {
    /// Ranks, ascending.
    Few(Vec<usize>),
    Split {
        input: usize,
        /// Those that name a value for this input, by that value.
        named: HashMap<Vec<u8>, Choices>,
        /// Those that name none.
        rest: Box<Choices>,
    },
}

impl Default for Choices {
    fn default() -> Choices {
        Choices::Few(Vec::new())
    }
}

impl Choices {
    /// `ranks` is ascending.
    pub fn new(candidates: &[Candidate], ranks: Vec<usize>) -> Choices {
        split(candidates, ranks, &mut Vec::new())
    }

    /// The best rank whose conditions all hold.
    pub fn find(&self, candidates: &[Candidate], values: &impl Values) -> Option<usize> {
        match self {
            Choices::Few(ranks) => ranks
                .iter()
                .copied()
                .find(|rank| candidates[*rank].conditions.iter().all(|c| c.holds(values))),
            Choices::Split { input, named, rest } => {
                effort::step();
                let named = values.value(*input).and_then(|value| named.get(value));
                let first = named.and_then(|choices| choices.find(candidates, values));
                let second = rest.find(candidates, values);
                first.into_iter().chain(second).min()
            }
        }
    }
}

/// `used` holds the inputs that were split by on the way here; none is used twice, so this ends.
fn split(candidates: &[Candidate], ranks: Vec<usize>, used: &mut Vec<usize>) -> Choices {
    let input = match best_input(candidates, &ranks, used) {
        Some(input) if ranks.len() > FEW => input,
        _ => return Choices::Few(ranks),
    };
    let mut lists: HashMap<Vec<u8>, Vec<usize>> = HashMap::default();
    let mut rest = Vec::new();
    for rank in ranks {
        match wanted(&candidates[rank], input) {
            Some(values) => values.iter().for_each(|value| {
                let list = lists.entry(value.clone()).or_default();
                // A value that is written twice.
                if list.last() != Some(&rank) {
                    list.push(rank);
                }
            }),
            None => rest.push(rank),
        }
    }
    used.push(input);
    let named = lists
        .into_iter()
        .map(|(value, list)| (value, split(candidates, list, used)))
        .collect();
    let rest = Box::new(split(candidates, rest, used));
    used.pop();
    Choices::Split { input, named, rest }
}

/// The input that most of the routes name a value for.
fn best_input(candidates: &[Candidate], ranks: &[usize], used: &[usize]) -> Option<usize> {
    let mut counts: HashMap<usize, usize> = HashMap::default();
    for condition in ranks.iter().flat_map(|rank| &candidates[*rank].conditions) {
        if condition.wanted().is_some() && !used.contains(&condition.input) {
            *counts.entry(condition.input).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .max_by_key(|(input, count)| (*count, std::cmp::Reverse(*input)))
        .map(|(input, _)| input)
}

fn wanted(candidate: &Candidate, input: usize) -> Option<&[Vec<u8>]> {
    candidate
        .conditions
        .iter()
        .filter(|condition| condition.input == input)
        .find_map(Condition::wanted)
}
