//! A real browser: headless Chromium, driven by chromedriver (W3C WebDriver).

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tidegate_sdk::base64;

use crate::client::{Client, send};
use crate::ports::Port;
use crate::process::Process;
use crate::wait::{wait_for, wait_until};

/// Closed when it is dropped.
pub struct Browser {
    port: Port,
    session: String,
    _driver: Process,
    _profile: tempfile::TempDir,
}

/// The key of an element's id (WebDriver, 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// With a window of this size; dark as its user likes it, or light.
    #[track_caller]
    pub fn open(width: u32, height: u32, dark: bool) -> Browser {
        let port = Port::free();
        let driver =
            Process::start(Command::new("chromedriver").arg(format!("--port={}", port.number())));
        wait_until("chromedriver is up", || {
            Client::try_connect(port.address()).is_ok()
        });
        let profile = tempfile::tempdir().expect("a temporary folder");
        let scheme = if dark { 0 } else { 1 };
        let arguments = [
            "--headless",
            // It runs as root, in a sandbox of the tests' own.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--blink-settings=preferredColorScheme={scheme}"),
            &format!("--window-size={width},{height}"),
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let mut browser = Browser {
            port,
            session: String::new(),
            _driver: driver,
            _profile: profile,
        };
        let session = browser.order("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    #[track_caller]
    pub fn go(&self, url: &str) {
        self.at("POST", "/url", &json!({ "url": url }));
    }

    /// The text that a person sees of the first such element (a CSS selector); empty when there is none.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let script = "const found = document.querySelector(arguments[0]); return found ? found.innerText : ''";
        let text = self.script(script, &json!([selector]));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What the script returns.
    #[track_caller]
    pub fn script(&self, script: &str, arguments: &Value) -> Value {
        self.at(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": arguments }),
        )
    }

    /// Waits until the element's text contains that.
    #[track_caller]
    pub fn wait_for_text(&self, selector: &str, text: &str) {
        wait_until(&format!("{selector} shows {text:?}"), || {
            self.text(selector).contains(text)
        });
    }

    /// Clicks it once it is there and can be.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        wait_for(&format!("{selector} can be clicked"), || {
            let element = self.find(selector)?;
            self.try_at("POST", &format!("/element/{element}/click"), &json!({}))
                .ok()
        });
    }

    /// Types into whatever it is.
    #[track_caller]
    pub fn write(&self, selector: &str, text: &str) {
        let element = self
            .find(selector)
            .unwrap_or_else(|| panic!("there is no {selector}"));
        self.at(
            "POST",
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    /// Presses keys, whoever has the focus. Special ones are WebDriver's private code points.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let press = |key: char| {
            [
                json!({ "type": "keyDown", "value": key.to_string() }),
                json!({ "type": "keyUp", "value": key.to_string() }),
            ]
        };
        let actions: Vec<Value> = keys.chars().flat_map(press).collect();
        let keyboard =
            json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.at("POST", "/actions", &keyboard);
    }

    /// Keeps a picture of the window.
    #[track_caller]
    pub fn picture(&self, path: &Path) {
        let picture = self.at("GET", "/screenshot", &Value::Null);
        let bytes = base64::decode(picture.as_str().expect("a picture")).expect("base64");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(path, bytes).expect("a file can be written");
    }

    fn find(&self, selector: &str) -> Option<String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.try_at("POST", "/element", &wanted).ok()?;
        Some(found[ELEMENT].as_str()?.to_owned())
    }

    #[track_caller]
    fn at(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_at(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_at(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        self.try_order(method, &format!("/session/{}{path}", self.session), body)
    }

    #[track_caller]
    fn order(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_order(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_order(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\nhost: {}\ncontent-length: {}\n\n{body}",
            self.port.address(),
            body.len()
        );
        let answer = send(self.port.address(), &request);
        let value = answer.json()["value"].clone();
        if answer.status() == 200 {
            Ok(value)
        } else {
            Err(value)
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_order(
            "DELETE",
            &format!("/session/{}", self.session),
            &Value::Null,
        );
    }
}
