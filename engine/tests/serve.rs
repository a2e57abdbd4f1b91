//! Promise: `serve` answers as OpenAI's API does, with what each request would get alone, and says what is wrong with what it
//! cannot answer.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use common::{bundled, path};
use serde_json::{Value, json};

/// A server of the bundled model, on a port that the system chose. Dropping it kills it.
struct Server {
    child: Child,
    address: String,
}

struct Reply {
    status: u16,
    body: String,
}

impl Server {
    fn start(more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvdepot-engine"));
        command.args(["serve", "--json", "--model", &path(&bundled()), "--listen", "127.0.0.1:0"]).args(more);
        command.args(["--served-model-name", "tiny"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().split_once("http://").unwrap_or_else(|| panic!("{line}")).1.to_owned();
        Self { child, address }
    }

    /// Sends a request on a connection of its own.
    fn send(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let key = key.map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
        let head = format!("{method} {path} HTTP/1.0\r\nhost: x\r\n{key}content-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        stream
    }

    fn call(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> Reply {
        Reply::read(self.send(method, path, key, body))
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.call("POST", path, None, &body.to_string())
    }

    fn complete(&self, body: &Value) -> Value {
        let reply = self.post("/v1/completions", body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    }

    /// Chunks of a stream, and whether it was ended properly.
    fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let reply = self.post(path, body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        let mut lines: Vec<&str> = reply.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(lines.pop(), Some("[DONE]"), "{}", reply.body);
        lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.call("GET", "/metrics", None, "").body;
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn terminate(mut self) -> (Option<i32>, String) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let status = self.child.wait().unwrap();
        let mut report = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        (status.code(), report)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_owned() }
    }

    fn error(&self) -> Value {
        serde_json::from_str::<Value>(&self.body).unwrap()["error"].clone()
    }
}

fn body(prompt: &str, max_tokens: usize) -> Value {
    json!({"model": "tiny", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0})
}

fn with(mut body: Value, more: Value) -> Value {
    more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

fn text(answer: &Value) -> String {
    answer["choices"][0]["text"].as_str().unwrap().to_owned()
}

const SHARED: &str = "The depot keeps the caches of contexts that many requests share, and gives them back. ";

#[test]
fn answers_have_the_shape_of_openais_and_share_prefixes() {
    let server = Server::start(&[]);
    let prompt = SHARED.repeat(12);
    let answers: Vec<Value> = std::thread::scope(|threads| {
        let ask = |idx: usize| {
            let (server, prompt) = (&server, &prompt);
            threads.spawn(move || server.complete(&body(&format!("{prompt}{idx}"), 12)))
        };
        (0..6).map(ask).collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(answers.iter().filter(|answer| cached(answer) == 0).count(), 1, "one computes the prefix: {answers:?}");
    let prompt_tokens = answers[3]["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(answers.iter().map(cached).max().unwrap() + 64 >= prompt_tokens, "{answers:?}");
    assert_eq!(answers[3]["object"], "text_completion");
    assert_eq!(answers[3]["usage"]["completion_tokens"], 12);
    // Alone it is the same.
    let other = Server::start(&[]);
    assert_eq!(text(&other.complete(&body(&format!("{prompt}3"), 12))), text(&answers[3]));
    assert!(server.metric("kvdepot_engine_cached_prompt_tokens_total") > 5.0 * 64.0);
    assert_eq!(server.metric("kvdepot_engine_completion_tokens_total"), 72.0);
    assert_eq!(server.metric("kvdepot_engine_time_to_first_token_seconds_count"), 6.0);
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let server = Server::start(&[]);
    let prompt = SHARED.repeat(3);
    for more in [
        json!({}),
        json!({"temperature": 1.3, "seed": 5, "n": 2}),
        json!({"stop": ["e ", "zzzz"], "max_tokens": 60}),
        json!({"stop": [" the"], "temperature": 0.8, "seed": 3, "max_tokens": 60}),
        json!({"logprobs": 0, "max_tokens": 20}),
        json!({"logprobs": 3, "max_tokens": 20}),
    ] {
        let body = with(body(&prompt, 40), more);
        let whole = server.complete(&body);
        let stream = with(body.clone(), json!({"stream": true, "stream_options": {"include_usage": true}}));
        let mut chunks = server.stream("/v1/completions", &stream);
        let last = chunks.pop().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
        for (idx, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let of_choice = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|part| part["index"] == json!(idx));
            let parts: Vec<&Value> = of_choice.collect();
            let said: String = parts.iter().map(|part| part["text"].as_str().unwrap()).collect();
            assert_eq!(said, choice["text"].as_str().unwrap());
            let reasons: Vec<&Value> =
                parts.iter().map(|part| &part["finish_reason"]).filter(|reason| !reason.is_null()).collect();
            assert_eq!(reasons, [&choice["finish_reason"]]);
            if let Some(all) = choice["logprobs"]["token_logprobs"].as_array() {
                let said = |name: &str| -> Vec<Value> {
                    let parts = parts.iter().filter_map(|part| part["logprobs"][name].as_array());
                    parts.flatten().cloned().collect()
                };
                assert_eq!(&said("token_logprobs"), all);
                let tops = choice["logprobs"]["top_logprobs"].as_array().cloned().unwrap_or_default();
                assert_eq!(said("top_logprobs"), tops);
                assert!(tops.iter().all(|top| top.as_object().unwrap().len() <= 3));
                assert!(tops.len() == if body["logprobs"] == 0 { 0 } else { 20 });
            }
            assert!(parts.len() > 3 || choice["finish_reason"] == "stop", "{parts:?}");
        }
    }
}

#[test]
fn what_cannot_be_answered_says_why() {
    let server = Server::start(&["--kv-memory", "1"]);
    let refused = |body: Value, status: u16, words: &str| {
        let reply = server.post("/v1/completions", &body);
        assert_eq!(reply.status, status, "{body}: {}", reply.body);
        let error = reply.error();
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert!(error["type"].is_string() && error["code"].is_string());
    };
    refused(json!({"model": "tiny"}), 400, "\"prompt\" is missing");
    refused(with(body("a", 3), json!({"best": 3})), 400, "\"best\"");
    refused(with(body("a", 3), json!({"temperature": "hot"})), 400, "\"temperature\"");
    refused(with(body("a", 3), json!({"model": "gpt"})), 404, "\"gpt\"");
    refused(with(body("a", 3), json!({"prompt": vec![5; 100_000]})), 400, "more than the model's context");
    refused(with(body("a", 3), json!({"prompt": vec![5; 3_000]})), 429, "of KV do not fit");
    refused(with(body("a", 3), json!({"prompt": vec![5; 3_000], "stream": true})), 429, "of KV do not fit");
    refused(with(body("a", 3), json!({"logprobs": 21})), 400, "at most 20");
    refused(with(body("a", 3), json!({"stream_options": {"more": 1}})), 400, "stream_options");
    assert_eq!(server.call("POST", "/v1/completions", None, "{\"model\": ").status, 400);
    assert_eq!(server.call("POST", "/v1/completions", None, "\u{0}").status, 400);
    assert_eq!(server.call("POST", "/v1/embeddings", None, "{}").status, 404);
    assert_eq!(server.call("GET", "/v1/completions", None, "").status, 405);
    assert_eq!(server.call("GET", "/v1/models/other", None, "").status, 404);
    assert_eq!(server.call("GET", "/health", None, "").status, 200);
    let models: Value = serde_json::from_str(&server.call("GET", "/v1/models", None, "").body).unwrap();
    assert_eq!(models["data"][0]["id"], "tiny");
    // After all that it still answers.
    assert_eq!(server.complete(&body("The", 3))["usage"]["completion_tokens"], 3);
}

#[test]
fn only_who_shows_the_key_is_answered() {
    let server = Server::start(&["--api-key", "secret"]);
    let body = body("The", 2).to_string();
    for key in [None, Some("secre"), Some("secrets"), Some("")] {
        let reply = server.call("POST", "/v1/completions", key, &body);
        assert_eq!((reply.status, &reply.error()["code"]), (401, &json!("invalid_api_key")));
    }
    assert_eq!(server.call("POST", "/v1/completions", Some("secret"), &body).status, 200);
    assert_eq!(server.call("GET", "/health", None, "").status, 200);
    let output = common::run(&["serve", "--model", &path(&bundled()), "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--api-key"));
}

#[test]
fn a_client_that_leaves_is_not_waited_for() {
    let server = Server::start(&[]);
    let long = with(body(&SHARED.repeat(3), 1500), json!({"stream": true}));
    let mut gone = server.send("POST", "/v1/completions", None, &long.to_string());
    let mut some = [0; 400];
    gone.read_exact(&mut some).unwrap();
    drop(gone);
    let whole = server.send("POST", "/v1/completions", None, &body(&SHARED.repeat(2), 1500).to_string());
    drop(whole);
    // Ends once both are found to have gone.
    while server.metric("kvdepot_engine_running_requests") > 0.0 {
        server.complete(&body("The", 2));
    }
    assert!(server.metric("kvdepot_engine_completion_tokens_total") < 2900.0);
    let used = server.metric("kvdepot_engine_kv_used_bytes");
    assert!(used < server.metric("kvdepot_engine_kv_limit_bytes"));
}

#[test]
fn what_was_accepted_is_answered_before_the_end() {
    let server = Server::start(&[]);
    let asked = with(body(&SHARED.repeat(3), 300), json!({"stream": true}));
    let mut running = server.send("POST", "/v1/completions", None, &asked.to_string());
    let mut some = [0; 300];
    running.read_exact(&mut some).unwrap();
    let (code, report) = server.terminate();
    let mut rest = String::new();
    running.read_to_string(&mut rest).unwrap();
    assert!(rest.trim_end().ends_with("data: [DONE]"), "{rest}");
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap(), json!({"requests": 1}));
}
