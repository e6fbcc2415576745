//! A headless Chromium, driven over the pipe of its `DevTools` protocol: messages are JSON with a NUL behind each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// One page in a browser of its own, with a profile that is gone afterwards.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last_id: u64,
    session: Option<String>,
    /// What the page complained of: exceptions, refused connections, breaches of its content security policy.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

/// The widths and heights that the page is looked at with.
pub(crate) const DESKTOP: (u32, u32) = (1200, 900);
pub(crate) const PHONE: (u32, u32) = (375, 812);

impl Browser {
    /// Starts the browser, which takes the certificates with these public keys (base64 of the SHA-256 of each) for good.
    pub(crate) fn start(trusted_keys: &[String]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The protocol wants the descriptors 3 and 4, which the shell makes of the two pipes that there are.
        let mut process = Command::new("sh")
            .args([
                "-c",
                r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>&2"#,
                "chromium",
                "--headless",
                "--remote-debugging-pipe",
            ])
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server"])
            .args(["--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb"])
            .arg(format!("--ignore-certificate-errors-spki-list={}", trusted_keys.join(",")))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut page = Self { process, to, from, last_id: 0, session: None, complaints: Vec::new(), _profile: profile };
        let target = page.call("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = page.call("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        page.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page.size(DESKTOP);
        page
    }

    /// The size of the window.
    pub(crate) fn size(&mut self, (width, height): (u32, u32)) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Goes to an address, and waits until the page is there.
    pub(crate) fn open(&mut self, url: &str) {
        let went = self.call("Page.navigate", &json!({ "url": url }));
        assert_eq!(went["errorText"], Value::Null, "{url}");
        self.wait_until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression; a promise is waited for.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let answer = self.call("Runtime.evaluate", &params);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Waits until the condition holds, which it is asked at each change of the page. Fails after 60 s with what the page shows.
    pub(crate) fn wait_until(&mut self, condition: &str) {
        let holds = self.value(&format!(
            "new Promise((done) => {{
                const look = () => {{ if ({condition}) {{ done(true); return true; }} }};
                if (look()) return;
                const changes = {{ subtree: true, childList: true, attributes: true, characterData: true }};
                new MutationObserver(look).observe(document, changes);
                document.addEventListener('readystatechange', look);
                setTimeout(() => done(look() === true), 60_000);
            }})"
        ));
        if holds != true {
            let shown = self.value("document.body.innerText");
            panic!("{condition}: not within 60 s; {:?}; {shown}", self.complaints);
        }
    }

    /// Writes into a field as a person does, so that the page hears of it.
    pub(crate) fn fill(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.value(&format!(
            "(() => {{ const field = document.querySelector({selector}); field.value = {text}; \
             for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()"
        ));
    }

    pub(crate) fn click(&mut self, selector: &str) {
        let selector = json!(selector);
        self.value(&format!("document.querySelector({selector}).click()"));
    }

    /// The text of the first element that the selector finds.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let selector = json!(selector);
        self.value(&format!("document.querySelector({selector}).innerText")).as_str().unwrap().to_owned()
    }

    /// Whether a person sees the element.
    pub(crate) fn is_shown(&mut self, selector: &str) -> bool {
        let selector = json!(selector);
        self.value(&format!("document.querySelector({selector}).checkVisibility()")) == true
    }

    /// Keeps a picture of what the window shows in the folder `PICTURES`, where that is set: for people to look at.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("PICTURES") else { return };
        let file = Path::new(&folder).join(format!("{name}.png"));
        let picture = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        std::fs::write(file, STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(message.to_string().as_bytes()).unwrap();
        self.to.write_all(&[0]).unwrap();
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser has ended; is chromium installed? apt-get install chromium");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.last_id {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(event["params"]["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if event["params"]["entry"]["level"] == "error" => {
                self.complaints.push(event["params"]["entry"]["text"].as_str().unwrap_or_default().to_owned());
            }
            _ => (),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
