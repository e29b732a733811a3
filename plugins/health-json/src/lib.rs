//! The judge of probes `health-json`: fields of a JSON answer decide whether a server is down, drains, or has a share of its
//! weight.

mod rule;

use serde_json::Value;
use tidegate_sdk::prelude::*;

use rule::{Rule, Settings};

struct HealthJson {
    rules: Vec<Rule>,
}

impl Plugin for HealthJson {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        Ok(HealthJson {
            rules: settings.rules()?,
        })
    }
}

impl Health for HealthJson {
    fn judge(&self, _pool: &str, _server: &str, probe: &Probe) -> Verdict {
        // Nobody has said anything.
        if probe.status == 0 {
            return Verdict::AsUsual;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(probe.body) else {
            return Verdict::Down("the answer is no JSON".to_owned());
        };
        let broken = self.rules.iter().filter_map(|rule| rule.judge(&answer));
        broken.min_by_key(rank).unwrap_or(Verdict::AsUsual)
    }
}

/// The worse, the smaller.
fn rank(verdict: &Verdict) -> u32 {
    match verdict {
        Verdict::Down(_) => 0,
        Verdict::Maint => 1,
        Verdict::Drain => 2,
        Verdict::Up(share) => 2 + u32::from(*share),
        Verdict::AsUsual => u32::MAX,
    }
}

export!(HealthJson: Health);

#[cfg(test)]
mod tests {
    use tidegate_sdk::Verdict;
    use tidegate_sdk::test::{FakeProbe, Harness, json};

    use super::HealthJson;

    fn judged(rules: serde_json::Value, answer: &str) -> Verdict {
        let plugin = Harness::<HealthJson>::new(json!({ "rules": rules })).unwrap();
        plugin.judge("app", "a", &FakeProbe::new(200).body(answer))
    }

    #[test]
    fn all_is_well_when_all_rules_hold() {
        let rules = json!([
            { "field": "db.up", "equals": true },
            { "field": "disks.1.free", "at-least": 5 },
            { "field": "load", "at-most": 0.8 },
            { "field": "state", "one-of": ["running", "warming"] },
        ]);
        let answer = r#"{"db": {"up": true}, "disks": [{"free": 1}, {"free": 5}], "load": 0.8, "state": "warming"}"#;
        assert_eq!(judged(rules, answer), Verdict::AsUsual);
    }

    #[test]
    fn the_worst_counts() {
        let rules = json!([
            { "field": "a", "at-most": 1, "otherwise": "50%" },
            { "field": "b", "at-most": 1, "otherwise": "20%" },
            { "field": "c", "at-most": 1, "otherwise": "drain" },
            { "field": "d", "at-most": 1, "otherwise": "maint" },
            { "field": "e", "at-most": 1 },
        ]);
        let with = |bad: &str| {
            let field = |name: &str| format!("\"{name}\": {}", u8::from(bad.contains(name)) * 2);
            let fields = ["a", "b", "c", "d", "e"].map(field).join(", ");
            judged(rules.clone(), &format!("{{{fields}}}"))
        };
        assert_eq!(with("a"), Verdict::Up(50));
        assert_eq!(with("ab"), Verdict::Up(20));
        assert_eq!(with("abc"), Verdict::Drain);
        assert_eq!(with("abcd"), Verdict::Maint);
        let Verdict::Down(why) = with("abcde") else {
            panic!("it is down");
        };
        assert_eq!(why, "e is 2");
    }

    #[test]
    fn what_is_missing_or_of_another_kind_breaks_the_rule() {
        let rule = json!([{ "field": "a.b", "at-least": 5 }]);
        for (answer, why) in [
            ("{}", "a.b is not there"),
            (r#"{"a": 7}"#, "a.b is not there"),
            (r#"{"a": {"b": "7"}}"#, "a.b is \"7\""),
            ("nonsense", "the answer is no JSON"),
        ] {
            assert_eq!(judged(rule.clone(), answer), Verdict::Down(why.to_owned()));
        }
    }

    #[test]
    fn without_an_answer_the_host_decides() {
        let rules = json!({ "rules": [{ "field": "a", "equals": 1 }] });
        let plugin = Harness::<HealthJson>::new(rules).unwrap();
        let verdict = plugin.judge("app", "a", &FakeProbe::timed_out());
        assert_eq!(verdict, Verdict::AsUsual);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (rules, words) in [
            (json!([]), "key `rules`: at least one"),
            (json!([{ "field": "a" }]), "rule 1 (`a`): give one of"),
            (
                json!([{ "field": "a", "equals": 1, "at-most": 2 }]),
                "rule 1 (`a`): give one of",
            ),
            (
                json!([{ "field": "a", "equals": 1, "otherwise": "0%" }]),
                "rule 1 (`a`): `otherwise`",
            ),
            (json!([{ "field": "", "equals": 1 }]), "rule 1: `field`"),
        ] {
            let made = Harness::<HealthJson>::new(json!({ "rules": rules.clone() }));
            let error = made.err().unwrap_or_else(|| panic!("{rules}"));
            assert!(error.contains(words), "{error}");
        }
    }
}
