//! Goals, and whether they are met.

use serde_json::json;

use crate::figures::{least, median, most, ratios};
use crate::measure::{Outcome, Row};

/// What the first build of Tidegate shall reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// The median ratio to HAProxy's figure of the same round, at most.
    OfHaproxy(f64),
    OfNginx(f64),
    /// The median figure, at most.
    Most(f64),
    /// The figure of every round, at most.
    MostEver(f64),
    NoFailures,
}

/// A goal and what came of it.
pub struct Judged {
    pub variant: &'static str,
    goal: Goal,
    bound: f64,
    /// None: the peer was not there.
    reached: Option<f64>,
    /// Whether the machine added so much that a ratio says nothing.
    drowned: bool,
    /// Of the rounds, where the goal is about a median.
    spread: Option<(f64, f64)>,
}

impl Goal {
    /// `row` is Tidegate's.
    pub fn judge(self, outcome: &Outcome, row: &Row) -> Judged {
        let to = |name: &str| {
            let peer = outcome.row(name, row.variant)?;
            Some(ratios(&row.figures(), &peer.figures()))
        };
        let (bound, figures) = match self {
            Goal::OfHaproxy(bound) => (bound, to("haproxy")),
            Goal::OfNginx(bound) => (bound, to("nginx")),
            Goal::Most(bound) => (bound, Some(row.figures())),
            Goal::MostEver(bound) => (bound, Some(vec![most(&row.figures())])),
            Goal::NoFailures => (0.0, Some(vec![row.failures() as f64])),
        };
        Judged {
            variant: row.variant,
            goal: self,
            bound,
            reached: figures.as_deref().map(median),
            drowned: outcome.drowned() && matches!(self, Goal::OfHaproxy(_) | Goal::OfNginx(_)),
            spread: figures
                .filter(|all| all.len() > 1)
                .map(|all| (least(&all), most(&all))),
        }
    }
}

impl Judged {
    pub fn met(&self) -> Option<bool> {
        self.reached
            .filter(|_| !self.drowned)
            .map(|reached| reached <= self.bound)
    }

    pub fn words(&self) -> String {
        let bound = number(self.bound);
        let what = match self.goal {
            Goal::OfHaproxy(_) => format!("at most {bound} of haproxy's"),
            Goal::OfNginx(_) => format!("at most {bound} of nginx's"),
            Goal::Most(_) => format!("at most {bound}"),
            Goal::MostEver(_) => format!("at most {bound} in every round"),
            Goal::NoFailures => "no failures".to_owned(),
        };
        format!("{}, {what}: {}", self.variant, self.verdict())
    }

    fn verdict(&self) -> String {
        let Some(reached) = self.reached else {
            return "not judged, the peer is missing".to_owned();
        };
        let word = match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => return format!("not judged, {}: it is the machine's", number(reached)),
        };
        let margin = match self.bound {
            0.0 => String::new(),
            bound if reached <= bound => {
                format!(", {:.0} % below", (1.0 - reached / bound) * 100.0)
            }
            bound => format!(", {:.0} % above", (reached / bound - 1.0) * 100.0),
        };
        // A machine that cannot tell says so.
        let doubt = match self.spread {
            Some((least, most)) if least <= self.bound && most > self.bound => {
                format!(
                    "; rounds on both sides, {} to {}",
                    number(least),
                    number(most)
                )
            }
            _ => String::new(),
        };
        format!("{word}, {}{margin}{doubt}", number(reached))
    }

    pub fn json(&self) -> serde_json::Value {
        json!({
            "variant": self.variant,
            "goal": format!("{:?}", self.goal),
            "bound": self.bound,
            "reached": self.reached,
            "margin": self.reached.map(|reached| self.bound - reached),
            "met": self.met(),
            "words": self.words(),
        })
    }
}

fn number(figure: f64) -> String {
    if figure == 0.0 || figure.abs() >= 100.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;

    fn row(proxy: &str, figures: &[f64]) -> Row {
        let sample = |figure: &f64| Sample {
            figure: *figure,
            details: vec![],
            failures: 0,
        };
        Row {
            proxy: proxy.to_owned(),
            variant: "v",
            samples: figures.iter().map(sample).collect(),
        }
    }

    fn judged(goal: Goal, ours: &[f64], haproxys: &[f64]) -> Judged {
        let outcome = Outcome {
            rows: vec![row("haproxy", haproxys), row("tidegate", ours)],
            ..Outcome::default()
        };
        goal.judge(&outcome, &outcome.rows[1])
    }

    #[test]
    fn ratios_are_paired_by_round() {
        // A round that was slow for both counts as any other: 0.5, 0.6, 0.5.
        let judged = judged(
            Goal::OfHaproxy(0.55),
            &[10.0, 60.0, 10.0],
            &[20.0, 100.0, 20.0],
        );
        assert_eq!(judged.met(), Some(true), "{}", judged.words());
        assert!(judged.words().contains("both sides"), "{}", judged.words());
    }

    #[test]
    fn a_missed_goal_says_by_how_much() {
        let words = judged(Goal::OfHaproxy(0.5), &[6.0], &[10.0]).words();
        assert!(words.contains("MISSED, 0.60, 20 % above"), "{words}");
    }

    #[test]
    fn ever_means_the_worst_round() {
        let rounds = [0.5, 0.5, 0.61];
        assert_eq!(judged(Goal::MostEver(0.6), &rounds, &[]).met(), Some(false));
        assert_eq!(judged(Goal::Most(0.6), &rounds, &[]).met(), Some(true));
    }

    #[test]
    fn what_the_machine_adds_to_all_is_no_success() {
        let mut outcome = Outcome {
            rows: vec![row("haproxy", &[100.0]), row("tidegate", &[99.0])],
            floors: vec![40.0],
            ..Outcome::default()
        };
        let met = |outcome: &Outcome| Goal::OfHaproxy(1.0).judge(outcome, &outcome.rows[1]).met();
        assert_eq!(met(&outcome), Some(true));
        outcome.floors = vec![90.0];
        assert_eq!(met(&outcome), None);
    }

    #[test]
    fn without_the_peer_nothing_is_claimed() {
        assert_eq!(judged(Goal::OfNginx(0.9), &[1.0], &[1.0]).met(), None);
    }
}
