//! Why a token sequence did not match.

use kvdepot_proto::Scope;

use super::Depot;

impl Depot {
    /// Names the first missing chunk and, when the model is stored under another spec only, a field that differs.
    pub(super) fn miss_reason(&self, scope: &Scope, num_tokens: usize, matched_tokens: usize) -> String {
        let end_token = num_tokens.min(matched_tokens + self.chunk_tokens as usize);
        let missing = format!("no chunk for tokens {matched_tokens}..{end_token}");
        match self.other_spec(scope) {
            Some(other) if matched_tokens == 0 => format!("{missing}; {other}"),
            _ => missing,
        }
    }

    fn other_spec(&self, scope: &Scope) -> Option<String> {
        let specs = self.specs();
        if specs.contains_key(&scope.spec.fingerprint()) {
            return None;
        }
        let stored = specs.values().find(|stored| stored.model == scope.spec.model)?;
        let difference = stored.difference(&scope.spec)?;
        Some(format!("model {:?} is stored with another spec: {difference}", stored.model))
    }
}
