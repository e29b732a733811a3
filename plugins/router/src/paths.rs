//! The routes of one host by path: a tree of segments. A look-up walks down as far as the configuration has segments and then
//! up to the first route that takes the request, so it costs the depth of the deepest route at most, however long the
//! path that was sent.

use crate::choices::{Candidate, Choices};
use crate::condition::Values;
use crate::effort;
use crate::hash::HashMap;
use crate::settings::Path;

#[derive(Debug)]
pub struct Paths {
    /// The first is `/`.
    nodes: Vec<Node>,
    /// Routes that name no path.
    any: Choices,
}

#[derive(Debug, Default)]
struct Node {
    above: Option<usize>,
    below: HashMap<Vec<u8>, usize>,
    exact: Choices,
    prefix: Choices,
}

/// The ranks of a node while the tree is built.
#[derive(Default)]
struct Ranks {
    exact: Vec<usize>,
    prefix: Vec<usize>,
}

impl Paths {
    /// `routes` are ranks, ascending, with their paths.
    pub fn new(candidates: &[Candidate], routes: &[(usize, Option<Path>)]) -> Paths {
        let mut nodes = vec![Node::default()];
        let mut ranks = vec![Ranks::default()];
        let mut any = Vec::new();
        for (rank, path) in routes {
            let list = match path {
                None => &mut any,
                Some(Path::Exact(path)) => {
                    let node = grow(&mut nodes, segments(path.as_bytes()));
                    &mut at(&mut ranks, node).exact
                }
                Some(Path::Prefix(path)) => {
                    let path = path.strip_suffix('/').unwrap_or(path);
                    let node = grow(&mut nodes, segments(path.as_bytes()));
                    &mut at(&mut ranks, node).prefix
                }
            };
            list.push(*rank);
        }
        for (node, ranks) in nodes.iter_mut().zip(ranks) {
            node.exact = Choices::new(candidates, ranks.exact);
            node.prefix = Choices::new(candidates, ranks.prefix);
        }
        let any = Choices::new(candidates, any);
        Paths { nodes, any }
    }

    /// The rank of the best route.
    pub fn find(
        &self,
        candidates: &[Candidate],
        path: &[u8],
        values: &impl Values,
    ) -> Option<usize> {
        let under = |at| self.under(at, candidates, path, values);
        let found = path.starts_with(b"/").then_some(0).and_then(under);
        found.or_else(|| self.any.find(candidates, values))
    }

    /// Walks down from `node` and up again.
    fn under(
        &self,
        mut node: usize,
        candidates: &[Candidate],
        path: &[u8],
        values: &impl Values,
    ) -> Option<usize> {
        let mut rest = segments(path);
        let whole = loop {
            let Some(segment) = rest.next() else {
                break true;
            };
            effort::step();
            match self.nodes[node].below.get(segment) {
                Some(below) => node = *below,
                None => break false,
            }
        };
        if whole && let Some(rank) = self.nodes[node].exact.find(candidates, values) {
            return Some(rank);
        }
        std::iter::successors(Some(node), |node| self.nodes[*node].above)
            .find_map(|node| self.nodes[node].prefix.find(candidates, values))
    }
}

/// What stands behind each slash; nothing in an empty path.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').skip(1)
}

fn grow<'a>(nodes: &mut Vec<Node>, segments: impl Iterator<Item = &'a [u8]>) -> usize {
    segments.fold(0, |node, segment| {
        if let Some(below) = nodes[node].below.get(segment) {
            return *below;
        }
        let below = nodes.len();
        nodes[node].below.insert(segment.to_vec(), below);
        nodes.push(Node {
            above: Some(node),
            ..Node::default()
        });
        below
    })
}

fn at(ranks: &mut Vec<Ranks>, node: usize) -> &mut Ranks {
    if ranks.len() <= node {
        ranks.resize_with(node + 1, Ranks::default);
    }
    &mut ranks[node]
}
