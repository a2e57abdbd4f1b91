//! Promise: `batch` answers each line of a file once, whatever happens on the way, and says of each that it cannot answer why.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{assert_refused, bundled, json, path, run};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
    model: PathBuf,
}

impl Bench {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), model: bundled() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, lines: &[String]) {
        fs::write(self.file("in.jsonl"), lines.join("\n")).unwrap();
    }

    fn args(&self, more: &[&str]) -> Vec<String> {
        let [model, input, output] =
            [self.model.clone(), self.file("in.jsonl"), self.file("out.jsonl")].map(|p| path(&p));
        let args = ["--json", "batch", "--model", &model, "--input", &input, "--output", &output];
        args.iter().chain(more).map(|&arg| arg.to_owned()).collect()
    }

    fn batch(&self, more: &[&str]) -> Value {
        json(&self.args(more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Results by `custom_id`, each there once.
    fn results(&self) -> HashMap<String, Value> {
        let mut results = HashMap::new();
        for line in fs::read_to_string(self.file("out.jsonl")).unwrap().lines() {
            let result: Value = serde_json::from_str(line).unwrap();
            let id = result["custom_id"].as_str().map_or_else(|| format!("line {}", result["line"]), str::to_owned);
            assert!(results.insert(id.clone(), result).is_none(), "{id} twice");
        }
        results
    }

    /// A copy of the model that has a chat template.
    fn with_template(mut self) -> Self {
        let model = self.file("model");
        fs::create_dir(&model).unwrap();
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::os::unix::fs::symlink(self.model.canonicalize().unwrap().join(name), model.join(name)).unwrap();
        }
        let template = "{{ bos_token }}{%- for message in messages -%}\n{%- if message.role not in ['user', 'assistant', 'system'] -%}\n\
            {{ raise_exception('no role ' + message.role) }}\n{%- endif -%}\n\
            {{ message.role.upper() }}: {{ message.content.strip() }}\n{% endfor %}\n\
            {%- if add_generation_prompt %}ASSISTANT:{% endif %}";
        fs::write(
            model.join("tokenizer_config.json"),
            json!({"chat_template": template, "bos_token": {"content": "<|endoftext|>"}}).to_string(),
        )
        .unwrap();
        self.model = model;
        self
    }
}

fn completion(id: &str, body: Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body}).to_string()
}

fn chat(id: &str, body: Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string()
}

/// Many requests over one text.
fn many(count: usize) -> Vec<String> {
    let shared = "The depot keeps the caches of contexts that many requests share. ".repeat(12);
    let body = |idx| json!({"model": "m", "prompt": format!("{shared}{idx}"), "max_tokens": 24, "temperature": 0});
    (0..count).map(|idx| completion(&format!("r{idx}"), body(idx))).collect()
}

fn text(result: &Value) -> &str {
    result["response"]["body"]["choices"][0]["text"].as_str().unwrap()
}

#[test]
fn each_line_has_its_result_and_a_prefix_is_computed_once() {
    let bench = Bench::new();
    bench.write(&many(20));
    let report_file = bench.file("report.json");
    let report = bench.batch(&["--report", &path(&report_file)]);
    assert_eq!((&report["succeeded"], &report["failed"], &report["left"]), (&json!(20), &json!(0), &json!(0)));
    assert!(report["saved_fraction"].as_f64().unwrap() > 0.85, "{report}");
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(report_file).unwrap()).unwrap(), report);
    let results = bench.results();
    assert_eq!(results.len(), 20);
    let body = &results["r7"]["response"]["body"];
    assert_eq!((&body["object"], &body["usage"]["completion_tokens"]), (&json!("text_completion"), &json!(24)));
    assert!(body["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 100);

    // Alone it is the same.
    let alone = Bench::new();
    alone.write(&many(20)[7..8]);
    alone.batch(&[]);
    assert_eq!(text(&alone.results()["r7"]), text(&results["r7"]));
}

#[test]
fn a_line_that_cannot_be_answered_says_why_and_the_others_are() {
    let bench = Bench::new();
    let prompt = |prompt: Value| json!({"model": "m", "prompt": prompt, "max_tokens": 4, "temperature": 0});
    let with = |name: &str, value: Value| {
        let mut body = prompt(json!("a"));
        body[name] = value;
        body
    };
    bench.write(&[
        completion("good", prompt(json!("The depot"))),
        "{\"custom_id\": \"torn\", \"meth".to_owned(),
        String::new(),
        "[1, 2]".to_owned(),
        completion("unknown", with("best_of_all", json!(3))),
        completion("type", with("temperature", json!("hot"))),
        completion("range", with("top_p", json!(7))),
        completion("none", json!({"model": "m"})),
        completion("empty", prompt(json!([]))),
        completion("long", prompt(json!(vec![5; 100_000]))),
        completion("foreign", prompt(json!([4_000_000_000u32]))),
        completion("stream", with("stream", json!(true))),
        completion("zero", with("max_tokens", json!(0))),
        completion("other", json!({"model": "gpt", "prompt": "a"})),
        chat("chat", json!({"model": "m", "messages": [{"role": "user", "content": "a"}]})),
        json!({"custom_id": "url", "method": "POST", "url": "/v1/embeddings", "body": {}}).to_string(),
        json!({"custom_id": "get", "method": "GET", "url": "/v1/completions", "body": {}}).to_string(),
    ]);
    let report = bench.batch(&["--served-model-name", "m"]);
    assert_eq!((&report["succeeded"], &report["failed"]), (&json!(1), &json!(15)));
    let results = bench.results();
    let message = |id: &str| results[id]["error"]["message"].as_str().unwrap().to_owned();
    for (id, words) in [
        ("line 2", "not a request"),
        ("line 4", "not a request"),
        ("unknown", "unknown parameter: \"best_of_all\""),
        ("type", "parameter \"temperature\" is not valid"),
        ("range", "top-p 7 is outside"),
        ("none", "parameter \"prompt\" is missing"),
        ("empty", "has no tokens"),
        ("long", "tokens are more than the model's context of"),
        ("foreign", "token 4000000000 is outside the vocabulary"),
        ("stream", "makes no sense in a batch"),
        ("zero", "0 to decode"),
        ("other", "model \"gpt\" is not here: this is \"m\""),
        ("chat", "no chat template"),
        ("line 16", "/v1/embeddings"),
        ("get", "method \"GET\" is not POST"),
    ] {
        assert!(message(id).contains(words), "{id}: {}", message(id));
        assert!(results[id]["response"].is_null());
    }
    assert_eq!(results["other"]["error"]["code"], "model_not_found");
    assert!(results["good"]["error"].is_null());
}

#[test]
fn conversations_go_through_the_chat_template() {
    let bench = Bench::new().with_template();
    let parts = json!([{"type": "text", "text": "who are "}, {"type": "text", "text": "you? "}]);
    let ask = |messages: Value| json!({"model": "m", "messages": messages, "max_completion_tokens": 6, "temperature": 0, "logprobs": true});
    bench.write(&[
        chat("one", ask(json!([{"role": "user", "content": "who are you?"}]))),
        chat("parts", ask(json!([{"role": "user", "content": parts}]))),
        completion(
            "plain",
            json!({"model": "m", "prompt": "USER: who are you?\nASSISTANT:", "max_tokens": 6, "temperature": 0}),
        ),
        chat("role", ask(json!([{"role": "judge", "content": "?"}]))),
    ]);
    bench.batch(&[]);
    let results = bench.results();
    let message = |id: &str| results[id]["response"]["body"]["choices"][0]["message"].clone();
    assert_eq!(message("one")["role"], "assistant");
    assert_eq!(message("one"), message("parts"));
    assert_eq!(message("one")["content"], text(&results["plain"]));
    let logprobs = &results["one"]["response"]["body"]["choices"][0]["logprobs"]["content"];
    assert_eq!(logprobs.as_array().unwrap().len(), 6);
    assert!(results["role"]["error"]["message"].as_str().unwrap().contains("no role judge"));
}

#[test]
fn choices_and_stop_strings_are_those_asked_for() {
    let bench = Bench::new();
    let body = json!({"model": "m", "prompt": "The depot keeps", "max_tokens": 40, "temperature": 0});
    bench.write(&[completion("whole", body.clone())]);
    bench.batch(&[]);
    let whole = text(&bench.results()["whole"]).to_owned();
    let stop: String = whole.chars().skip(6).take(4).collect();
    let end = whole.find(&stop).unwrap();

    let bench = Bench::new();
    let mut stopped = body.clone();
    stopped["stop"] = json!([stop, "never to be seen"]);
    let mut several = body;
    (several["n"], several["temperature"], several["seed"]) = (json!(3), json!(1.2), json!(5));
    bench.write(&[completion("stopped", stopped), completion("several", several)]);
    bench.batch(&[]);
    let results = bench.results();
    assert_eq!(text(&results["stopped"]), &whole[..end]);
    assert_eq!(results["stopped"]["response"]["body"]["choices"][0]["finish_reason"], "stop");
    let choices = results["several"]["response"]["body"]["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(choices.windows(2).any(|pair| pair[0]["text"] != pair[1]["text"]));
}

#[test]
fn a_file_with_results_is_gone_on_with_only_when_asked() {
    let bench = Bench::new();
    bench.write(&many(6));
    bench.batch(&[]);
    let whole = bench.results();
    let args = bench.args(&[]);
    let again: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--json").collect();
    assert_refused(&again, 2, "pass --resume to go on with it");

    // As after a crash: some whole lines, and one that was cut off.
    let lines = fs::read_to_string(bench.file("out.jsonl")).unwrap();
    let kept: Vec<&str> = lines.lines().take(2).collect();
    fs::write(bench.file("out.jsonl"), format!("{}\n{}\n{{\"id\": \"batch_req", kept[0], kept[1])).unwrap();
    let report = bench.batch(&["--resume"]);
    assert_eq!((&report["resumed"], &report["succeeded"]), (&json!(2), &json!(4)));
    let resumed = bench.results();
    assert!(resumed.len() == 6 && whole.iter().all(|(id, result)| text(result) == text(&resumed[id])));
}

#[test]
fn an_interrupted_batch_ends_what_it_began_and_goes_on_later() {
    let bench = Bench::new();
    bench.write(&many(400));
    let child = Command::new(env!("CARGO_BIN_EXE_kvdepot-engine"))
        .args(bench.args(&["--kv-memory", "2"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !fs::read_to_string(bench.file("out.jsonl")).is_ok_and(|lines| lines.contains('\n')) {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--resume goes on with them"));
    let first = bench.results().len();
    assert!(first > 0 && first < 400, "{first}");
    let report = bench.batch(&["--resume"]);
    assert_eq!((&report["resumed"], &report["succeeded"]), (&json!(first), &json!(400 - first)));
    assert_eq!(bench.results().len(), 400);
}

#[test]
fn lines_with_one_id_are_refused_before_anything_runs() {
    let bench = Bench::new();
    bench.write(&[many(1), many(2)].concat());
    let args = bench.args(&[]);
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--json").collect();
    assert_refused(&args, 2, "lines 1 and 2 both have the custom_id \"r0\"");
    assert!(!Path::new(&bench.file("out.jsonl")).exists());
}

#[test]
fn a_plan_shows_what_running_takes() {
    let bench = Bench::new();
    bench.write(&many(20));
    let (model, input) = (path(&bundled()), path(&bench.file("in.jsonl")));
    let plan = json(&["--json", "plan", "--model", &model, "--input", &input]);
    let report = bench.batch(&[]);
    assert_eq!(plan["prefill_tokens_planned"], report["prefill_tokens_computed"]);
    assert_eq!(plan["prefill_tokens_total"], report["prefill_tokens_total"]);
    assert!(plan["peak_kv_bytes"].as_u64() >= report["peak_kv_bytes"].as_u64());
    assert_eq!((&plan["requests"], &plan["groups"][0]["requests"]), (&json!(20), &json!(20)));
    let picture = String::from_utf8(run(&["plan", "--model", &model, "--input", &input]).stdout).unwrap();
    assert!(picture.contains("─ ") && picture.contains("tokens for 20 requests"), "{picture}");
}
