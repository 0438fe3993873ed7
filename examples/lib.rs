//! What the console examples share: their command line, and how a program begins and ends. IO.
#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io;
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt as _};
use milena::{Config, ErrorKind};

/// The options that both programs have.
#[derive(Debug)]
pub struct Options {
    /// `--topic`.
    pub topic: String,
    /// `--key-separator`: what stands between the key and the value of a line.
    pub key_separator: Option<Vec<u8>>,
    /// `--bootstrap`, and every `--config`.
    pub config: Config,
}

impl Options {
    /// Reads the command line. What only one of the programs has goes to `own`, with the parser to take its value from;
    /// it returns whether it knows an option of this name.
    ///
    /// # Errors
    /// [`End::Usage`] for what cannot be understood, names of settings included; [`End::Help`] if that was asked for.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        mut own: impl FnMut(&str, &mut Parser) -> Result<bool, lexopt::Error>,
    ) -> Result<Self, End> {
        let (mut bootstrap, mut topic, mut key_separator, mut properties) = (None, None, None, Vec::new());
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("bootstrap") => bootstrap = Some(parser.value()?.string()?),
                Arg::Long("topic") => topic = Some(parser.value()?.string()?),
                Arg::Long("key-separator") => key_separator = Some(parser.value()?.parse_with(separator)?),
                Arg::Long("config") => properties.push(parser.value()?.parse_with(property)?),
                Arg::Short('h') | Arg::Long("help") => return Err(End::Help),
                Arg::Long(name) => {
                    let name = name.to_owned();
                    if !own(&name, &mut parser)? {
                        return Err(Arg::Long(&name).unexpected().into());
                    }
                }
                other => return Err(other.unexpected().into()),
            }
        }
        let bootstrap = bootstrap.ok_or_else(|| missing("--bootstrap HOST:PORT,..."))?;
        let topic = topic.ok_or_else(|| missing("--topic NAME"))?;
        // All at once, so that every mistake is told at once.
        properties.push(("bootstrap.servers".to_owned(), bootstrap));
        Ok(Self { topic, key_separator, config: Config::from_properties(properties)? })
    }
}

fn missing(option: &str) -> End {
    End::Usage(format!("{option} is missing"))
}

fn separator(text: &str) -> Result<Vec<u8>, &'static str> {
    if text.is_empty() { Err("a separator has at least one character") } else { Ok(text.as_bytes().to_vec()) }
}

fn property(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("a setting is written name=value, such as acks=all")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Why a program ends before its work is done.
#[derive(Debug)]
pub enum End {
    /// It was asked how it is used.
    Help,
    /// The command line makes no sense: exit code 2.
    Usage(String),
    /// Something failed: exit code 1.
    Failed(String),
}

impl From<lexopt::Error> for End {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<milena::Error> for End {
    fn from(error: milena::Error) -> Self {
        let text = with_causes(&error);
        // Settings come from the command line.
        if error.kind() == ErrorKind::Config { Self::Usage(text) } else { Self::Failed(text) }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failed(with_causes(&error))
    }
}

/// The text of an error with what caused it: errors of milena show one level each. A cause that was told already is left out.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

/// Runs a program and says on standard error why it ended early. `RUST_LOG=debug` shows what the client does.
pub fn run(name: &str, usage: &str, program: impl Future<Output = Result<(), End>>) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    let ended = tokio::runtime::Runtime::new().map_err(End::from).and_then(|runtime| {
        let ended = runtime.block_on(program);
        // A thread may still wait for standard input; nothing can interrupt it, and waiting for it would be for ever.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Help) => say(&mut io::stdout(), format_args!("{usage}"), ExitCode::SUCCESS),
        Err(End::Usage(text)) => {
            say(&mut io::stderr(), format_args!("{name}: {text}\n(--help tells the options)\n"), ExitCode::from(2))
        }
        Err(End::Failed(text)) => say(&mut io::stderr(), format_args!("{name}: {text}\n"), ExitCode::FAILURE),
    }
}

fn say(out: &mut dyn io::Write, text: fmt::Arguments<'_>, code: ExitCode) -> ExitCode {
    // If nobody can be told, the exit code has to do.
    match out.write_fmt(text) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Options, End> {
        Options::parse(arguments.split_whitespace().map(OsString::from), |name, parser| match name {
            "own" => parser.value().map(|_| true),
            _ => Ok(false),
        })
    }

    #[test]
    fn options_are_read() {
        let options = parsed("--topic=lines --own 7 --key-separator : --bootstrap a:1,b:2 --config acks=all").unwrap();
        assert_eq!((options.topic.as_str(), options.key_separator.as_deref()), ("lines", Some(&b":"[..])));
        let config = format!("{:?}", options.config);
        assert!(config.contains("a:1,b:2") && config.contains("acks"), "{config}");
        assert!(matches!(parsed("--topic lines --help"), Err(End::Help)));
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, named) in [
            ("--topic lines", "--bootstrap"),
            ("--bootstrap a:1", "--topic"),
            ("--bootstrap a:1 --topic lines --form end", "--form"),
            ("--bootstrap a:1 --topic lines --key-separator=", "separator"),
            ("--bootstrap a:1 --topic lines --config acks", "name=value"),
            ("--bootstrap a:1 --topic lines --config linger.msec=5", "linger.ms"),
            ("--bootstrap a:port --topic lines", "port"),
        ] {
            let Err(End::Usage(text)) = parsed(arguments) else { panic!("{arguments} was taken") };
            assert!(text.contains(named), "{arguments}: {text}");
        }
    }
}
