//! The ways of obtaining a context that are measured.

use std::time::Duration;

use kvdepot_codec::Level;

use super::contexts::Stored;

/// All quality layers.
const ALL: u8 = Level::MAX_QUALITIES;
/// The base alone.
const BASE: u8 = 1;

/// A way of obtaining a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Compute everything.
    Text,
    /// Load everything.
    Load { stored: Stored, qualities: u8 },
    /// Ask the controller, over q3.
    Controller { qualities: u8, deadline: Option<Duration> },
}

impl Way {
    pub(super) const RAW: Self = Self::Load { stored: Stored::Raw, qualities: ALL };
    pub(super) const INT8: Self = Self::Load { stored: Stored::Int8, qualities: ALL };
    pub(super) const Q2: Self = Self::Load { stored: Stored::At(Level::Q2), qualities: ALL };
    pub(super) const Q3: Self = Self::Load { stored: Stored::At(Level::Q3), qualities: ALL };
    pub(super) const Q3_BASE: Self = Self::Load { stored: Stored::At(Level::Q3), qualities: BASE };
    pub(super) const CONTROLLER: Self = Self::Controller { qualities: ALL, deadline: None };
    pub(super) const CONTROLLER_BASE: Self = Self::Controller { qualities: BASE, deadline: None };

    /// Those that are measured, with a deadline for each goal.
    pub(super) fn all(goals: &[Duration]) -> Vec<Self> {
        let fixed = [Self::Text, Self::RAW, Self::INT8, Self::Q2, Self::Q3, Self::Q3_BASE];
        let controlled = [Self::CONTROLLER, Self::CONTROLLER_BASE];
        let by_deadline = goals.iter().map(|goal| Self::Controller { qualities: ALL, deadline: Some(*goal) });
        fixed.into_iter().chain(controlled).chain(by_deadline).collect()
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Load { stored, qualities: ALL } => stored.name().to_owned(),
            Self::Load { stored, .. } => format!("{} base", stored.name()),
            Self::Controller { qualities: ALL, deadline: None } => "controller".to_owned(),
            Self::Controller { deadline: None, .. } => "controller base".to_owned(),
            Self::Controller { deadline: Some(deadline), .. } => format!("deadline {} ms", deadline.as_millis()),
        }
    }

    /// What it loads.
    pub(super) fn stored(self) -> Option<Stored> {
        match self {
            Self::Text => None,
            Self::Load { stored, .. } => Some(stored),
            Self::Controller { .. } => Some(Stored::At(Level::Q3)),
        }
    }
}
