//! `/metrics` in the format that the scraper asks for: OpenMetrics 1.0 where its Accept names that, as Prometheus' does, else
//! Prometheus' text format 0.0.4, for everybody else and for eyes.

use std::fmt::Write;

use axum::http::{HeaderMap, header};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The content type and the text, of a text in OpenMetrics.
pub fn negotiated(asked: &HeaderMap, text: String) -> (&'static str, String) {
    let accepts = asked.get_all(header::ACCEPT).into_iter();
    let mut words = accepts.filter_map(|accept| accept.to_str().ok());
    if words.any(|accept| accept.contains("application/openmetrics-text")) {
        return (OPEN_METRICS, text);
    }
    (CLASSIC, classic(&text))
}

/// The older format calls a family by the name of its samples, and knows neither units nor an end.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let (word, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        let (family, said) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            // Which suffix it has only its type tells, on the next line.
            "HELP" => help = Some(said),
            "TYPE" => {
                let (suffix, kind) = match said {
                    "counter" => ("_total", said),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                // Infallible: it is a String.
                if let Some(help) = help.take() {
                    let _ = writeln!(out, "# HELP {family}{suffix} {help}");
                }
                let _ = writeln!(out, "# TYPE {family}{suffix} {kind}");
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "# HELP a_seconds Some\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{x=\"1\"} 2\n\
        # HELP b Build\n# TYPE b info\nb_info{v=\"# 1\"} 1\n# HELP c Now\n# TYPE c gauge\nc 3\n# EOF\n";

    #[test]
    fn families_are_called_by_their_samples_names() {
        assert_eq!(
            classic(OPEN),
            "# HELP a_seconds_total Some\n# TYPE a_seconds_total counter\na_seconds_total{x=\"1\"} 2\n\
             # HELP b_info Build\n# TYPE b_info gauge\nb_info{v=\"# 1\"} 1\n# HELP c Now\n# TYPE c gauge\nc 3\n"
        );
    }

    #[test]
    fn a_scraper_gets_what_it_asks_for() {
        let answer = |accept: Option<&str>| {
            let mut asked = HeaderMap::new();
            if let Some(accept) = accept {
                asked.insert(header::ACCEPT, accept.parse().unwrap());
            }
            negotiated(&asked, OPEN.to_owned()).0
        };
        assert_eq!(answer(None), CLASSIC);
        assert_eq!(answer(Some("*/*")), CLASSIC);
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(answer(Some(prometheus)), OPEN_METRICS);
    }
}
