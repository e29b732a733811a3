//! Reads `/metrics`: Prometheus' text format, as far as a proxy writes it.

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub text: String,
}

impl Metrics {
    /// The sum of all samples of that name whose labels include these; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name)
            .filter(|(own, _)| {
                labels
                    .iter()
                    .all(|(key, value)| own.contains(&format!("{key}=\"{value}\"")))
            })
            .map(|(_, value)| value)
            .sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples(name).next().is_some()
    }

    /// Names of all samples, as written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines()
            .map(|line| line.split(['{', ' ']).next().unwrap_or(""))
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
    }

    fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(inside) => inside.rsplit_once('}')?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let value = value.split_whitespace().next()?.parse().ok()?;
            Some((labels, value))
        })
    }
}
