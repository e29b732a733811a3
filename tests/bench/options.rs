//! The command line.

use std::path::PathBuf;

pub struct Options {
    /// Builds of Tidegate: the one that the goals are for, then those that it is held against.
    pub proxies: Vec<PathBuf>,
    /// Names of contestants that take no part.
    pub without: Vec<String>,
    pub rounds: usize,
    /// How long each contestant is measured in each round.
    pub seconds: u32,
    pub list: bool,
    /// How long a soak is to last, instead of measuring.
    pub soak: Option<u32>,
    /// Names of scenarios; none: all.
    pub only: Vec<String>,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options::default();
        let mut against = Vec::new();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--proxy" => options.proxies.push(value()?.into()),
                "--against" => against.push(value()?.into()),
                "--without" => options.without.push(value()?),
                "--rounds" => options.rounds = bounded(&value()?, 1, 100)?,
                "--seconds" => options.seconds = bounded(&value()?, 1, 30)? as u32,
                "--quick" => (options.rounds, options.seconds) = (3, 1),
                "--list" => options.list = true,
                "--soak" => options.soak = Some(bounded(&value()?, 10, 86_400)? as u32),
                flag if flag.starts_with('-') => {
                    return Err(format!("unknown flag {flag}; {USAGE}"));
                }
                name => options.only.push(name.to_owned()),
            }
        }
        if options.proxies.is_empty() {
            options.proxies.push("target/dist/tidegate".into());
        }
        options.proxies.extend(against);
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            proxies: Vec::new(),
            without: Vec::new(),
            rounds: 9,
            seconds: 3,
            list: false,
            soak: None,
            only: Vec::new(),
        }
    }
}

fn bounded(word: &str, least: usize, most: usize) -> Result<usize, String> {
    word.parse()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or(format!("{word}: a number from {least} to {most} is meant"))
}

const USAGE: &str = "known: --proxy PATH, --against PATH, --without NAME, --rounds N, --seconds N, --quick, --list, --soak SECONDS, and names of scenarios";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Options, String> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_first_proxy_is_the_one_that_is_judged() {
        let options = parsed("--against old --proxy new --proxy older h1-1k").unwrap();
        let paths: Vec<_> = options
            .proxies
            .iter()
            .map(|p| p.to_str().unwrap())
            .collect();
        assert_eq!(paths, ["new", "older", "old"]);
        assert_eq!(options.only, ["h1-1k"]);
    }

    #[test]
    fn quick_can_be_adjusted_by_what_follows() {
        let options = parsed("--quick --rounds 5").unwrap();
        assert_eq!((options.rounds, options.seconds), (5, 1));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for words in [
            "--prxy x",
            "--soak 1",
            "--rounds",
            "--rounds 0",
            "--seconds 31",
        ] {
            assert!(parsed(words).is_err(), "{words}");
        }
    }
}
