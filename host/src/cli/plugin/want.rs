//! What a case expects, and how it is compared with what came. Only what is named is compared.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::got::{Call, Got, Said, list};

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Want {
    next: Option<True>,
    accept: Option<True>,
    refuse: Option<True>,
    pool: Option<String>,
    reply: Option<WantReply>,
    route: Option<String>,
    path: Option<String>,
    reason: Option<String>,
    notes: Option<BTreeMap<String, String>>,
    edits: Option<Vec<String>>,
    fetches: Option<Vec<WantFetch>>,
    picks: Option<Vec<String>>,
    counts: Option<BTreeMap<String, u32>>,
    within: u32,
}

/// `next = false` would say nothing.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(try_from = "bool")]
struct True;

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WantReply {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WantFetch {
    pool: Option<String>,
    method: Option<String>,
    path: Option<String>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

/// Something that came out otherwise.
#[derive(Debug, PartialEq)]
pub struct Difference {
    pub key: &'static str,
    pub expected: String,
    pub got: String,
}

impl Want {
    pub fn is_empty(&self) -> bool {
        *self
            == Want {
                within: self.within,
                ..Want::default()
            }
    }

    pub fn is_of_picks(&self) -> bool {
        self.picks.is_some() || self.counts.is_some()
    }

    /// How many picks the list of them asks for.
    pub fn picks(&self) -> Option<u32> {
        self.picks.as_ref().map(|picks| picks.len() as u32)
    }

    pub fn differences(&self, got: &Got) -> Vec<Difference> {
        let mut found = Vec::new();
        self.compare_decision(got, &mut found);
        let text = |value: &Option<String>| value.as_ref().map(|value| format!("{value:?}"));
        let mut compare = |key, expected: Option<String>, got: String| {
            if let Some(expected) = expected.filter(|expected| *expected != got) {
                found.push(Difference { key, expected, got });
            }
        };
        let or_none = |value: &Option<String>| text(value).unwrap_or_else(|| "none".into());
        compare("route", text(&self.route), or_none(&got.route));
        compare("path", text(&self.path), or_none(&got.path));
        compare("reason", text(&self.reason), or_none(&got.reason));
        compare("edits", self.edits.as_ref().map(list), list(&got.edits));
        compare("picks", self.picks.as_ref().map(list), list(&got.picks));
        self.compare_notes(got, &mut found);
        self.compare_fetches(got, &mut found);
        self.compare_counts(got, &mut found);
        found
    }

    fn compare_decision(&self, got: &Got, found: &mut Vec<Difference>) {
        let mut wrong = |key, expected: String| {
            found.push(Difference {
                key,
                expected,
                got: got.said.to_string(),
            });
        };
        if self.next.is_some() && got.said != Said::Next {
            wrong("next", "next = true".into());
        }
        if self.accept.is_some() && got.said != Said::Accept {
            wrong("accept", "accept = true".into());
        }
        if self.refuse.is_some() && got.said != Said::Refuse {
            wrong("refuse", "refuse = true".into());
        }
        if let Some(pool) = &self.pool
            && got.said != Said::Pool(pool.clone())
        {
            wrong("pool", format!("pool = {pool:?}"));
        }
        if let Some(reply) = &self.reply
            && !matches!(&got.said, Said::Reply(got) if reply.fits(got))
        {
            wrong("reply", reply.to_string());
        }
    }

    fn compare_notes(&self, got: &Got, found: &mut Vec<Difference>) {
        for (name, value) in self.notes.iter().flatten() {
            let came = got.notes.iter().find(|(known, _)| known == name);
            if came.is_none_or(|(_, came)| came != value) {
                let shown = |pair: &(String, String)| format!("{} = {:?}", pair.0, pair.1);
                found.push(Difference {
                    key: "notes",
                    expected: format!("{name} = {value:?}"),
                    got: came.map_or_else(|| "none of that name".into(), shown),
                });
            }
        }
    }

    fn compare_fetches(&self, got: &Got, found: &mut Vec<Difference>) {
        let Some(fetches) = &self.fetches else { return };
        let same = fetches.len() == got.fetches.len()
            && fetches
                .iter()
                .zip(&got.fetches)
                .all(|(want, got)| want.fits(got));
        if !same {
            let shown = |calls: Vec<String>| format!("[{}]", calls.join(", "));
            found.push(Difference {
                key: "fetches",
                expected: shown(fetches.iter().map(ToString::to_string).collect()),
                got: shown(got.fetches.iter().map(ToString::to_string).collect()),
            });
        }
    }

    fn compare_counts(&self, got: &Got, found: &mut Vec<Difference>) {
        let Some(counts) = &self.counts else { return };
        let mut came: BTreeMap<&str, u32> = BTreeMap::new();
        for pick in &got.picks {
            *came.entry(pick).or_default() += 1;
        }
        let names = counts
            .keys()
            .map(String::as_str)
            .chain(came.keys().copied());
        let off = |name: &str| {
            let wanted = counts.get(name).copied().unwrap_or_default();
            came.get(name).copied().unwrap_or_default().abs_diff(wanted) > self.within
        };
        if names.into_iter().any(off) {
            let within = if self.within > 0 {
                format!(", within {}", self.within)
            } else {
                String::new()
            };
            let wanted: BTreeMap<&str, u32> =
                counts.iter().map(|(name, n)| (name.as_str(), *n)).collect();
            found.push(Difference {
                key: "counts",
                expected: format!("{}{within}", tally(&wanted)),
                got: tally(&came),
            });
        }
    }
}

impl TryFrom<bool> for True {
    type Error = &'static str;
    fn try_from(value: bool) -> Result<True, &'static str> {
        value
            .then_some(True)
            .ok_or("write true, or what is decided instead: pool or reply")
    }
}

impl WantReply {
    fn fits(&self, got: &Call) -> bool {
        self.status.is_none_or(|status| got.status == Some(status))
            && self.body.as_ref().is_none_or(|body| *body == got.body)
            && has_all(&self.headers, got)
    }
}

impl WantFetch {
    fn fits(&self, got: &Call) -> bool {
        let same = |want: &Option<String>, got: &Option<String>| want.is_none() || want == got;
        same(&self.pool, &got.pool)
            && same(&self.method, &got.method)
            && same(&self.path, &got.path)
            && self.body.as_ref().is_none_or(|body| *body == got.body)
            && has_all(&self.headers, got)
    }
}

fn has_all(headers: &BTreeMap<String, String>, got: &Call) -> bool {
    headers.iter().all(|(name, value)| {
        let mut fields = got.headers.iter();
        fields.any(|(known, came)| known.eq_ignore_ascii_case(name) && came == value)
    })
}

fn tally(counts: &BTreeMap<&str, u32>) -> String {
    let each: Vec<String> = counts
        .iter()
        .map(|(name, n)| format!("{name} = {n}"))
        .collect();
    format!("{{ {} }}", each.join(", "))
}

impl std::fmt::Display for WantReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let call = Call {
            status: self.status,
            headers: pairs(&self.headers),
            body: self.body.clone().unwrap_or_default(),
            ..Call::default()
        };
        write!(f, "reply = {call}")
    }
}

impl std::fmt::Display for WantFetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let call = Call {
            pool: self.pool.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            headers: pairs(&self.headers),
            body: self.body.clone().unwrap_or_default(),
            status: None,
        };
        call.fmt(f)
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    map.iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(text: &str) -> Want {
        toml::from_str(text).unwrap()
    }

    fn keys(want: &Want, got: &Got) -> Vec<&'static str> {
        want.differences(got).iter().map(|d| d.key).collect()
    }

    #[test]
    fn what_is_not_named_is_not_compared() {
        let got = Got {
            said: Said::Pool("app".into()),
            edits: vec!["set x: y".into()],
            reason: Some("why".into()),
            ..Got::default()
        };
        assert!(keys(&want("pool = 'app'"), &got).is_empty());
        assert!(keys(&want("reason = 'why'\nedits = ['set x: y']"), &got).is_empty());
        assert_eq!(keys(&want("pool = 'b'"), &got), ["pool"]);
        assert_eq!(
            keys(&want("next = true\nroute = 'r'"), &got),
            ["next", "route"]
        );
        assert_eq!(keys(&want("edits = []"), &got), ["edits"]);
        assert_eq!(keys(&want("notes = { a = '1' }"), &got), ["notes"]);
        assert_eq!(keys(&want("fetches = [{}]"), &got), ["fetches"]);
    }

    #[test]
    fn a_reply_is_compared_in_part() {
        let reply = Call {
            status: Some(404),
            headers: vec![("x-a".into(), "1".into())],
            body: "gone".into(),
            ..Call::default()
        };
        let got = Got {
            said: Said::Reply(reply),
            ..Got::default()
        };
        assert!(
            keys(
                &want("reply = { status = 404, headers = { X-A = '1' } }"),
                &got
            )
            .is_empty()
        );
        assert_eq!(keys(&want("reply = { status = 403 }"), &got), ["reply"]);
        assert_eq!(keys(&want("reply = { body = '' }"), &got), ["reply"]);
        assert_eq!(
            keys(&want("reply = { headers = { x-b = '1' } }"), &got),
            ["reply"]
        );
    }

    #[test]
    fn picks_are_compared_in_order_or_counted() {
        let picks = ["a", "b", "a"].map(str::to_owned).to_vec();
        let got = Got {
            picks,
            ..Got::default()
        };
        assert!(keys(&want("picks = ['a', 'b', 'a']"), &got).is_empty());
        assert_eq!(keys(&want("picks = ['a', 'a', 'b']"), &got), ["picks"]);
        assert!(keys(&want("counts = { a = 2, b = 1 }"), &got).is_empty());
        assert_eq!(
            keys(&want("counts = { a = 2 }"), &got),
            ["counts"],
            "b is not expected"
        );
        assert!(keys(&want("counts = { a = 1, b = 2 }\nwithin = 1"), &got).is_empty());
    }
}
