//! Which function am I?

use crate::http::Function;

/// What a local run is: every event kind, told apart by its shape. HTTP events are all there are in this version.
const ALL: &str = "all";

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
    Function::ALL.map(|(_, name)| name).join(", ")
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
    if name != ALL {
        return name.parse().map_err(|_| NoFunction::Unknown { variable, name });
    }
    if set(task_root).is_some() { Err(NoFunction::AllInLambda) } else { Ok(Function::Http) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_wins_over_the_handler() {
        assert_eq!(resolve(Some("token"), Some("admin"), Some("/var/task")), Ok(Function::Token));
        assert_eq!(resolve(None, Some("admin"), Some("/var/task")), Ok(Function::Admin));
        assert_eq!(resolve(Some(""), Some("discovery"), None), Ok(Function::Discovery));
    }

    #[test]
    fn bootstrap_is_http() {
        assert_eq!(resolve(None, Some("bootstrap"), Some("/var/task")), Ok(Function::Http));
        // It is a handler's name, not a function's.
        assert!(resolve(Some("bootstrap"), None, None).is_err());
    }

    #[test]
    fn a_local_run_is_all_and_a_deployed_one_never() {
        assert_eq!(resolve(None, None, None), Ok(Function::Http));
        assert_eq!(resolve(Some("all"), None, Some("")), Ok(Function::Http));
        assert_eq!(resolve(None, None, Some("/var/task")), Err(NoFunction::AllInLambda));
        assert_eq!(resolve(Some("all"), Some("http"), Some("/var/task")), Err(NoFunction::AllInLambda));
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let refused = resolve(Some("tokens"), None, None).unwrap_err().to_string();
        assert_eq!(
            refused,
            "GATEMINT_FUNCTION names an unknown function `tokens`; the known ones are token, discovery, admin, http, all"
        );
        assert!(resolve(None, Some("HTTP"), None).unwrap_err().to_string().starts_with("_HANDLER names"));
    }
}
