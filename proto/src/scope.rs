//! Where a token sequence is looked up.

use kvdepot_codec::Level;

use crate::{Error, KvSpec, Result, limits, spec::check_name, v1};

/// Where a token sequence is looked up: a spec, inside a namespace.
///
/// Exact and lossy scopes are disjoint, so a caller that did not opt in cannot be served a lossy chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// What the KV must be.
    pub spec: KvSpec,
    /// Name of the namespace.
    pub namespace: String,
    /// Whether lossy levels are accepted.
    pub lossy: bool,
    /// Secret of the caller that keeps others from probing for a prefix.
    pub salt: Vec<u8>,
}

/// Key under which a scope's chunk ids are hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NamespaceKey(pub(crate) [u8; 32]);

impl Scope {
    /// The namespace of callers that name none.
    pub const DEFAULT_NAMESPACE: &'static str = "default";

    /// The exact scope of `spec` in the default namespace, without a salt.
    pub fn exact(spec: KvSpec) -> Self {
        Self { spec, namespace: Self::DEFAULT_NAMESPACE.to_owned(), lossy: false, salt: Vec::new() }
    }

    /// Whether segments of `level` may be put here.
    pub fn accepts(&self, level: Level) -> bool {
        self.lossy || level.is_lossless()
    }

    /// Mixes fingerprint, tenant, namespace, loss and salt.
    ///
    /// `tenant` comes from the caller's credential, never from a message.
    pub fn key(&self, tenant: &str) -> NamespaceKey {
        let mut hasher = blake3::Hasher::new_derive_key("kvdepot.v1 namespace");
        hasher.update(self.spec.fingerprint().as_bytes());
        hasher.update(&[u8::from(self.lossy)]);
        for part in [tenant.as_bytes(), self.namespace.as_bytes(), &self.salt] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        NamespaceKey(*hasher.finalize().as_bytes())
    }
}

impl TryFrom<v1::Scope> for Scope {
    type Error = Error;

    fn try_from(message: v1::Scope) -> Result<Self> {
        check_name("namespace", &message.namespace)?;
        if message.salt.len() > limits::MAX_SALT_BYTES {
            let found = message.salt.len();
            return Err(Error::invalid(format!("salt of {found} bytes, at most {}", limits::MAX_SALT_BYTES)));
        }
        let namespace = match message.namespace {
            name if name.is_empty() => Self::DEFAULT_NAMESPACE.to_owned(),
            name => name,
        };
        let spec = message.spec.ok_or_else(|| Error::invalid("scope without a spec"))?.try_into()?;
        Ok(Self { spec, namespace, lossy: message.lossy, salt: message.salt })
    }
}

impl From<&Scope> for v1::Scope {
    fn from(scope: &Scope) -> Self {
        Self {
            spec: Some((&scope.spec).into()),
            namespace: scope.namespace.clone(),
            lossy: scope.lossy,
            salt: scope.salt.clone(),
        }
    }
}
