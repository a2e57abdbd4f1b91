//! A batch with a depot answers as one without: what is stored is loaded, what was computed is put, and a depot that dies is
//! done without.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use kvdepot_tests::{Cli, DepotProcess, poll, program};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model")
}

impl Bench {
    /// Two groups of questions over one document, which is long enough for some chunks.
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let document = std::fs::read_to_string(model().join("demo/document.txt"))?;
        let half: String = document.chars().take(document.chars().count() / 2).collect();
        let mut lines = Vec::new();
        for idx in 0..8 {
            let context = if idx % 2 == 0 { &document } else { &half };
            let body =
                json!({"model": "m", "prompt": format!("{context}\nQ{idx}:"), "max_tokens": 6, "temperature": 0});
            let line =
                json!({"custom_id": format!("q{idx}"), "method": "POST", "url": "/v1/completions", "body": body});
            lines.push(line.to_string());
        }
        std::fs::write(dir.path().join("in.jsonl"), lines.join("\n"))?;
        Ok(Self { dir })
    }

    fn command(&self, command: &str, more: &[&str]) -> anyhow::Result<Command> {
        let mut engine = Command::new(program("kvdepot-engine")?);
        engine.args([command, "--json", "--model"]).arg(model()).arg("--input").arg(self.dir.path().join("in.jsonl"));
        engine.args(more).env_remove("KVDEPOT_URL").stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(engine)
    }

    /// Starts a batch whose results go to a file of that name.
    fn start(&self, name: &str, more: &[&str]) -> anyhow::Result<Child> {
        let output = self.dir.path().join(name);
        Ok(self.command("batch", more)?.arg("--output").arg(output).spawn()?)
    }

    /// Runs a batch: its report, and the texts by request.
    fn batch(&self, name: &str, more: &[&str]) -> anyhow::Result<(Value, Vec<(String, String)>)> {
        let report = report(self.start(name, more)?)?;
        Ok((report, self.texts(name)?))
    }

    fn texts(&self, name: &str) -> anyhow::Result<Vec<(String, String)>> {
        let text = std::fs::read_to_string(self.dir.path().join(name))?;
        let results = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let text =
            |result: &Value| result["response"]["body"]["choices"][0]["text"].as_str().unwrap_or("none").to_owned();
        let mut texts: Vec<_> = results.iter().map(|result| (result["custom_id"].to_string(), text(result))).collect();
        texts.sort();
        Ok(texts)
    }
}

fn report(child: Child) -> anyhow::Result<Value> {
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).with_context(|| errors.into_owned())
}

#[test]
fn the_second_batch_loads_what_the_first_put() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let (_, alone) = bench.batch("alone.jsonl", &[])?;
    let depot = DepotProcess::start(&bench.dir.path().join("depot"), &[])?;
    let with_depot = ["--depot", &depot.url()];
    let (first, texts) = bench.batch("first.jsonl", &with_depot)?;
    assert_eq!(texts, alone);
    assert_eq!(first["loaded_tokens"], 0);
    assert!(first["depot"]["kept"]["prefixes"].as_u64() >= Some(2), "{first}");

    let plan = report(bench.command("plan", &with_depot)?.spawn()?)?;
    let (second, texts) = bench.batch("second.jsonl", &with_depot)?;
    assert_eq!(texts, alone);
    assert!(second["loaded_tokens"].as_u64() >= Some(3_000), "{second}");
    assert_eq!(
        (&second["depot"]["failure"], &second["depot"]["kept"]["prefixes"]),
        (&Value::Null, &json!(0)),
        "{second}"
    );
    assert_eq!(plan["load_tokens"], second["loaded_tokens"], "{plan}");
    assert_eq!(plan["prefill_tokens_planned"], second["prefill_tokens_computed"]);

    let (kept_out, _) =
        bench.batch("third.jsonl", &[&with_depot[..], &["--namespace", "other", "--put", "none"]].concat())?;
    assert_eq!((&kept_out["loaded_tokens"], &kept_out["depot"]["kept"]["prefixes"]), (&json!(0), &json!(0)));
    Ok(())
}

#[test]
fn a_lossy_level_is_put_only_where_lossy_kv_is_wanted() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let depot = DepotProcess::start(&bench.dir.path().join("depot"), &[])?;
    let url = depot.url();
    let refused = bench.start("refused.jsonl", &["--depot", &url, "--put", "q3"])?.wait_with_output()?;
    assert_eq!(refused.status.code(), Some(2));
    let lossy = ["--depot", &url, "--put", "q3", "--lossy"];
    bench.batch("first.jsonl", &lossy)?;
    let (second, _) = bench.batch("second.jsonl", &lossy)?;
    assert!(second["loaded_tokens"].as_u64() >= Some(3_000), "{second}");
    let (exact, _) = bench.batch("exact.jsonl", &["--depot", &url, "--put", "none"])?;
    assert_eq!(exact["loaded_tokens"], 0);
    Ok(())
}

#[test]
fn a_depot_that_dies_is_done_without() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let (_, alone) = bench.batch("alone.jsonl", &[])?;
    let depot = DepotProcess::start(&bench.dir.path().join("depot"), &[])?;
    let url = depot.url();
    bench.batch("first.jsonl", &["--depot", &url])?;
    // Dies as soon as the batch has found out what it has.
    let cli = Cli::of(&depot);
    let running = bench.start("second.jsonl", &["--depot", &url])?;
    let reads = |status: Value| status["matches"].as_u64();
    let before = reads(cli.json(["status"])?);
    let _ = poll("the batch to ask", || Ok((reads(cli.json(["status"])?) > before).then_some(())));
    depot.kill9()?;
    let report = report(running)?;
    assert_eq!(bench.texts("second.jsonl")?, alone);
    assert_eq!(report["succeeded"], 8);
    Ok(())
}

/// A server with a depot, until it is dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(depot: &DepotProcess) -> anyhow::Result<Self> {
        let mut command = Command::new(program("kvdepot-engine")?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--depot", &depot.url(), "--model"]).arg(model());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut line = String::new();
        let errors = child.stderr.take().context("its standard error")?;
        BufReader::new(errors).read_line(&mut line)?;
        let url = line.trim().split_once("http://").context(line.clone())?.1.to_owned();
        Ok(Self { child, url })
    }

    fn complete(&self, body: &Value) -> anyhow::Result<Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.url)?;
        write!(stream, "POST /v1/completions HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let body = reply.split_once("\r\n\r\n").context("no body")?.1;
        serde_json::from_str(body).with_context(|| reply.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_loads_what_the_depot_has_and_goes_on_when_that_dies() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let depot = DepotProcess::start(&bench.dir.path().join("depot"), &[])?;
    let (_, alone) = bench.batch("first.jsonl", &["--depot", &depot.url()])?;
    let server = Server::start(&depot)?;
    let input = std::fs::read_to_string(bench.dir.path().join("in.jsonl"))?;
    let bodies: Vec<Value> = input
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["body"].take()))
        .collect::<anyhow::Result<_>>()?;
    let named = |body: &Value| {
        let mut body = body.clone();
        body["model"] = "model".into();
        body
    };
    let first = server.complete(&named(&bodies[0]))?;
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert!(cached(&first) >= Some(3_000), "{first}");
    depot.kill9()?;
    // The batch had them in the order of their ids.
    for (body, (id, text)) in bodies.iter().zip(&alone).take(3) {
        let answer = server.complete(&named(body))?;
        assert_eq!(answer["choices"][0]["text"].as_str(), Some(&text[..]), "{id}");
    }
    Ok(())
}

#[test]
fn a_server_puts_what_it_computes() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let depot = DepotProcess::start(&bench.dir.path().join("depot"), &[])?;
    let document = std::fs::read_to_string(model().join("demo/document.txt"))?;
    let body = json!({"model": "model", "prompt": document, "max_tokens": 3, "temperature": 0});
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    let server = Server::start(&depot)?;
    let first = server.complete(&body)?;
    assert_eq!(cached(&first), Some(0));
    let cli = Cli::of(&depot);
    let chunks = first["usage"]["prompt_tokens"].as_u64().context("its tokens")? / 256;
    poll("its chunks to be stored", || Ok((cli.json(["status"])?["chunks"].as_u64() == Some(chunks)).then_some(())))?;
    drop(server);
    let second = Server::start(&depot)?.complete(&body)?;
    assert!(cached(&second) >= Some(256 * chunks - 64), "{second}");
    assert_eq!(second["choices"], first["choices"]);
    Ok(())
}
