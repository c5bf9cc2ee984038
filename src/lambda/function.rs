//! Which function am I?

use super::kind::Kind;
use crate::http;

/// What this process is. Rights in the cloud hang on it, so each answers its own kind of event and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Some of the routes, or all of them.
    Http(http::Function),
    /// May this request pass? Asked by an HTTP API.
    Authorizer,
    /// The next keys: Secrets Manager asks for a rotation, step by step.
    RotateKeys,
    /// Mirrored tokens written anew: a schedule asks for it.
    RefreshSecrets,
    /// Every kind of event and every route, for a local run.
    All,
}

/// What a local run is: every event kind, told apart by its shape.
const ALL: &str = "all";
const AUTHORIZER: &str = "authorizer";
const ROTATE_KEYS: &str = "rotate-keys";
const REFRESH_SECRETS: &str = "refresh-secrets";

/// Why this is no function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFunction {
    /// The name is none of ours.
    #[error("{variable} names an unknown function `{name}`; the known ones are {}, {ALL}", names())]
    Unknown {
        /// The variable that the name came from.
        variable: &'static str,
        /// The name.
        name: String,
    },
    /// `all` holds every permission at once, which is for a local run alone.
    #[error(
        "this would be the function `{ALL}`, which is for local runs; in Lambda set GATEMINT_FUNCTION or the handler to \
         one of {}",
        names()
    )]
    AllInLambda,
}

fn names() -> String {
    let http = http::Function::ALL.map(|(_, name)| name);
    [&http[..], &[AUTHORIZER, ROTATE_KEYS, REFRESH_SECRETS]].concat().join(", ")
}

impl Function {
    fn parse(name: &str) -> Option<Self> {
        match name {
            AUTHORIZER => Some(Self::Authorizer),
            ROTATE_KEYS => Some(Self::RotateKeys),
            REFRESH_SECRETS => Some(Self::RefreshSecrets),
            ALL => Some(Self::All),
            _ => name.parse().ok().map(Self::Http),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http(function) => function.name(),
            Self::Authorizer => AUTHORIZER,
            Self::RotateKeys => ROTATE_KEYS,
            Self::RefreshSecrets => REFRESH_SECRETS,
            Self::All => ALL,
        }
    }

    /// The routes that it serves, if it serves any.
    pub(super) fn routes(self) -> Option<http::Function> {
        match self {
            Self::Http(function) => Some(function),
            Self::All => Some(http::Function::Http),
            Self::Authorizer | Self::RotateKeys | Self::RefreshSecrets => None,
        }
    }

    /// The kinds of events that it answers.
    pub(super) fn answers(self) -> &'static [Kind] {
        match self {
            Self::Http(_) => &[Kind::Http],
            Self::Authorizer => &[Kind::Authorizer],
            Self::RotateKeys => &[Kind::Rotation],
            Self::RefreshSecrets => &[Kind::Schedule],
            Self::All => &[Kind::Http, Kind::Authorizer, Kind::Rotation, Kind::Schedule],
        }
    }

    /// Whether it uses the vault: only who signs, judges refresh tokens, rotates keys or mirrors tokens does. The others
    /// get no client for it, and need no right to it.
    pub(super) fn uses_vault(self) -> bool {
        match self {
            Self::Http(_) => self.signs(),
            Self::RotateKeys | Self::RefreshSecrets | Self::All => true,
            Self::Authorizer => false,
        }
    }

    /// Whether it signs tokens.
    pub(super) fn signs(self) -> bool {
        match self {
            Self::Http(http::Function::Discovery) | Self::Authorizer | Self::RotateKeys => false,
            Self::Http(_) | Self::RefreshSecrets | Self::All => true,
        }
    }

    /// Whether it is shown refresh tokens.
    pub(super) fn judges_refresh_tokens(self) -> bool {
        matches!(self, Self::Http(http::Function::Token | http::Function::Http) | Self::All)
    }

    /// Whether it uses keys from memory, which are then read at init. A rotation reads what is there when it is asked.
    pub(super) fn keeps_keys(self) -> bool {
        self != Self::RotateKeys
    }
}

/// Decides from `GATEMINT_FUNCTION`, else from `_HANDLER` (`bootstrap`, the name that custom runtimes have by custom, is
/// `http`), else it is `all`, as under cargo-lambda, which sets neither. `all` is refused where `LAMBDA_TASK_ROOT` is
/// set: that is a deployed function. An empty variable counts as unset.
pub fn resolve(
    gatemint_function: Option<&str>,
    handler: Option<&str>,
    task_root: Option<&str>,
) -> Result<Function, NoFunction> {
    let set = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    let (variable, name) = if let Some(name) = set(gatemint_function) {
        ("GATEMINT_FUNCTION", name)
    } else if let Some(handler) = set(handler) {
        ("_HANDLER", if handler == "bootstrap" { "http".to_owned() } else { handler })
    } else {
        ("GATEMINT_FUNCTION", ALL.to_owned())
    };
    match Function::parse(&name) {
        None => Err(NoFunction::Unknown { variable, name }),
        Some(Function::All) if set(task_root).is_some() => Err(NoFunction::AllInLambda),
        Some(function) => Ok(function),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Function as Routes;

    #[test]
    fn the_setting_wins_over_the_handler() {
        let deployed = Some("/var/task");
        assert_eq!(resolve(Some("token"), Some("admin"), deployed), Ok(Function::Http(Routes::Token)));
        assert_eq!(resolve(None, Some("admin"), deployed), Ok(Function::Http(Routes::Admin)));
        assert_eq!(resolve(Some(""), Some("discovery"), None), Ok(Function::Http(Routes::Discovery)));
        assert_eq!(resolve(Some("authorizer"), None, deployed), Ok(Function::Authorizer));
        assert_eq!(resolve(None, Some("rotate-keys"), deployed), Ok(Function::RotateKeys));
        assert_eq!(resolve(None, Some("refresh-secrets"), deployed), Ok(Function::RefreshSecrets));
    }

    #[test]
    fn bootstrap_is_http() {
        assert_eq!(resolve(None, Some("bootstrap"), Some("/var/task")), Ok(Function::Http(Routes::Http)));
        // It is a handler's name, not a function's.
        assert!(resolve(Some("bootstrap"), None, None).is_err());
    }

    #[test]
    fn a_local_run_is_all_and_a_deployed_one_never() {
        assert_eq!(resolve(None, None, None), Ok(Function::All));
        assert_eq!(resolve(Some("all"), None, Some("")), Ok(Function::All));
        assert_eq!(resolve(None, None, Some("/var/task")), Err(NoFunction::AllInLambda));
        assert_eq!(resolve(Some("all"), Some("http"), Some("/var/task")), Err(NoFunction::AllInLambda));
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let refused = resolve(Some("tokens"), None, None).unwrap_err().to_string();
        assert_eq!(
            refused,
            "GATEMINT_FUNCTION names an unknown function `tokens`; the known ones are token, discovery, gate, admin, \
             http, authorizer, rotate-keys, refresh-secrets, all"
        );
        assert!(resolve(None, Some("HTTP"), None).unwrap_err().to_string().starts_with("_HANDLER names"));
    }

    #[test]
    fn every_function_is_found_by_its_name_and_answers_something() {
        let all = Routes::ALL.map(|(function, _)| Function::Http(function));
        let others = [Function::Authorizer, Function::RotateKeys, Function::RefreshSecrets, Function::All];
        for function in all.into_iter().chain(others) {
            assert_eq!(Function::parse(function.name()), Some(function));
            assert!(!function.answers().is_empty());
            assert_eq!(function.routes().is_some(), function.answers().contains(&Kind::Http));
        }
    }
}
