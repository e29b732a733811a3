//! What `/metrics` says, read again: the figures that HAProxy's tables share with it.

use std::collections::HashMap;

/// Samples of an exposition, by name and, where they have both, by pool and server: a table of a thousand servers asks for each.
pub struct Metrics<'a>(HashMap<Series<'a>, Vec<(&'a str, f64)>>);

/// The sample's name, and the server that it is of.
type Series<'a> = (&'a str, Option<(&'a str, &'a str)>);

impl<'a> Metrics<'a> {
    /// `NAME{LABELS} VALUE`, line by line.
    pub fn of(text: &'a str) -> Metrics<'a> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let sample = line.rsplit_once(' ');
            let Some((series, value)) = sample.and_then(|(s, v)| Some((s, v.parse().ok()?))) else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}');
            let of = |label| value_of(labels, label);
            let server = of("pool").zip(of("server"));
            all.entry((name, None)).or_default().push((labels, value));
            if server.is_some() {
                all.entry((name, server)).or_default().push((labels, value));
            }
        }
        Metrics(all)
    }

    fn all<'s>(
        &'s self,
        name: &'s str,
        of: &'s [(&'s str, &'s str)],
    ) -> impl Iterator<Item = f64> + use<'s, 'a> {
        let given = |label| {
            of.iter()
                .find(|(known, _)| *known == label)
                .map(|(_, v)| *v)
        };
        let server = given("pool").zip(given("server"));
        let samples = self.0.get(&(name, server)).map_or(&[][..], Vec::as_slice);
        let samples = samples.iter().filter(move |(labels, _)| {
            let mut wanted = of.iter();
            wanted.all(|(label, value)| value_of(labels, label) == Some(value))
        });
        samples.map(|(_, value)| *value)
    }

    pub fn sum(&self, name: &str, of: &[(&str, &str)]) -> f64 {
        // What `sum` makes of nothing is -0.
        self.all(name, of).fold(0.0, |sum, value| sum + value)
    }

    /// Of these words.
    pub fn faults(&self, of: &[(&str, &str)], words: &[&[&str]]) -> f64 {
        let words = words.iter().copied().flatten();
        words
            .map(|word| {
                let of = [of, &[("fault", word)]].concat();
                self.sum("tidegate_faults_total", &of)
            })
            .fold(0.0, |sum, count| sum + count)
    }

    pub fn one(&self, name: &str, of: &[(&str, &str)]) -> Option<f64> {
        self.all(name, of).next()
    }
}

/// A label's value, of `A="1",B="2"`. Names of the configuration have no character that would be escaped.
fn value_of<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    let mut rest = labels;
    while let Some((name, behind)) = rest.split_once("=\"") {
        let (value, behind) = behind.split_once('"')?;
        if name == label {
            return Some(value);
        }
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_their_labels() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 3\na_total{y=\"2\",x=\"3\"} 4\nb 5.5\n# EOF\n";
        let metrics = Metrics::of(text);
        assert_eq!(metrics.sum("a_total", &[("y", "2")]), 7.0);
        assert_eq!(metrics.sum("a_total", &[("x", "3"), ("y", "2")]), 4.0);
        assert_eq!(metrics.one("b", &[]), Some(5.5));
        assert_eq!(metrics.one("c", &[]), None);
    }
}
