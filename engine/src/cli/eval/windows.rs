//! Windows of a text.

use std::path::Path;

use kvdepot_client::{Error, files};
use kvdepot_engine::TextCodec;
use serde::Deserialize;

use super::passage::{Passage, Shape, Task};

/// One line of a corpus; its other fields do not matter.
#[derive(Deserialize)]
struct Document {
    text: String,
}

/// Cuts `num_windows` windows, evenly spread and without overlap, from the documents of a file, one after the other.
///
/// A window is read as it lies there, as in `model/evaluate.py`: documents begin as contexts do, windows need not.
///
/// # Errors
/// `Invalid` when the text is too short, with the number of tokens it takes.
pub(super) fn cut(text: &TextCodec, path: &Path, shape: Shape, num_windows: usize) -> anyhow::Result<Vec<Passage>> {
    let mut tokens = Vec::new();
    for document in documents(path)? {
        tokens.extend(text.encode(&document)?);
    }
    let Shape { context_tokens, continue_tokens } = shape;
    let needed = context_tokens.saturating_add(continue_tokens).saturating_mul(num_windows);
    if tokens.len() < needed {
        return Err(Error::invalid(format!(
            "{} is too short: {num_windows} windows of {context_tokens} + {continue_tokens} tokens need {needed}, and it has {}",
            path.display(),
            tokens.len()
        ))
        .into());
    }
    let stride = tokens.len() / num_windows;
    Ok(tokens.chunks_exact(stride).take(num_windows).map(|tokens| window(tokens, shape)).collect())
}

/// The window at the front of `tokens`.
fn window(tokens: &[u32], Shape { context_tokens, continue_tokens }: Shape) -> Passage {
    let (context, rest) = tokens.split_at(context_tokens);
    Passage { context: context.to_vec(), continuation: rest[..continue_tokens].to_vec(), task: Task::Text }
}

/// Texts of the JSON lines in a file named `.jsonl`; the whole of any other file.
fn documents(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = files::read_text(path)?;
    if path.extension().is_none_or(|extension| extension != "jsonl") {
        return Ok(vec![text]);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(idx, line): (usize, &str)| {
        let document: Document = serde_json::from_str(line).map_err(|error| {
            Error::invalid(format!("{}:{}: no JSON object with `text`: {error}", path.display(), idx + 1))
        })?;
        Ok(document.text)
    };
    lines.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_context_and_what_follows_it() {
        let shape = Shape { context_tokens: 3, continue_tokens: 2 };
        let expected = Passage { context: vec![5, 6, 7], continuation: vec![8, 9], task: Task::Text };
        assert_eq!(window(&[5, 6, 7, 8, 9, 10], shape), expected);
    }

    #[test]
    fn documents_are_lines_of_jsonl_and_whole_files_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, lines) = (dir.path().join("a.txt"), dir.path().join("a.jsonl"));
        let text = "{\"name\": \"x\", \"text\": \"one\"}\n\n{\"text\": \"two\"}\n";
        std::fs::write(&plain, text).unwrap();
        std::fs::write(&lines, text).unwrap();
        assert_eq!(documents(&plain).unwrap(), [text]);
        assert_eq!(documents(&lines).unwrap(), ["one", "two"]);
        std::fs::write(&lines, "{\"text\": \"one\"}\n{\"name\": 1}\n").unwrap();
        let error = documents(&lines).unwrap_err().to_string();
        assert!(error.contains("a.jsonl:2: no JSON object with `text`"), "{error}");
    }
}
