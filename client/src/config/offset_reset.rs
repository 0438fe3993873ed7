//! `auto.offset.reset`: where to read when there is no usable position. Pure.

use std::time::Duration;

use super::value::{Rule, Value};

/// Where a consumer starts on a partition without a committed offset, or whose position the broker no longer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AutoOffsetReset {
    /// At the oldest record that is still there. `earliest`.
    Earliest,
    /// At the end: only what is written from now on. What is there already is skipped. `latest`.
    Latest,
    /// Nowhere: reading the partition fails with [`ErrorKind::OffsetReset`](crate::ErrorKind::OffsetReset). `none`.
    None,
    /// At the first record that is at most this old. `by_duration:P1DT12H` is one and a half days, in ISO 8601.
    ByDuration(Duration),
}

const BY_DURATION: &str = "by_duration:";

impl Value for AutoOffsetReset {
    fn parse(text: &str, _: &Rule) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            "none" => Ok(Self::None),
            _ => text
                .strip_prefix(BY_DURATION)
                .and_then(parse_duration)
                .map(Self::ByDuration)
                .ok_or_else(|| "allowed: earliest, latest, none, by_duration:PnDTnHnMnS".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Earliest => "earliest".to_owned(),
            Self::Latest => "latest".to_owned(),
            Self::None => "none".to_owned(),
            Self::ByDuration(duration) => format!("{BY_DURATION}{}", show_duration(*duration)),
        }
    }
}

/// Of ISO 8601 the part with fixed lengths: days, hours, minutes, seconds, each at most once and in this order.
/// Expects lower case.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('p')?;
    let (date, time) = match text.split_once('t') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let (mut total, mut any) = (Duration::ZERO, false);
    for (mut rest, units) in [(date, &[('d', 86_400)][..]), (time.unwrap_or(""), &[('h', 3600), ('m', 60), ('s', 1)])] {
        for &(unit, seconds) in units {
            if let Some((amount, after)) = rest.split_once(unit) {
                total = total.checked_add(parse_amount(amount, seconds)?)?;
                (rest, any) = (after, true);
            }
        }
        if !rest.is_empty() {
            return None;
        }
    }
    (any && time != Some("")).then_some(total)
}

/// Only seconds may have a fraction.
fn parse_amount(text: &str, unit_in_seconds: u64) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) {
        return None;
    }
    let nanoseconds = match fraction {
        None => 0,
        Some(fraction) if unit_in_seconds == 1 && digits(fraction) && fraction.len() <= 9 => {
            format!("{fraction:0<9}").parse().ok()?
        }
        Some(_) => return None,
    };
    Some(Duration::new(whole.parse::<u64>().ok()?.checked_mul(unit_in_seconds)?, nanoseconds))
}

fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = "P".to_owned();
    if days > 0 {
        text += &format!("{days}D");
    }
    let rest = duration - Duration::from_secs(days * 86_400);
    if rest.is_zero() && days > 0 {
        return text;
    }
    text.push('T');
    for (amount, unit) in [(hours, 'H'), (minutes, 'M')] {
        if amount > 0 {
            text += &format!("{amount}{unit}");
        }
    }
    let fraction = format!(".{:09}", duration.subsec_nanos());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    if seconds > 0 || !fraction.is_empty() || rest.is_zero() {
        text += &format!("{seconds}{fraction}S");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<AutoOffsetReset> {
        AutoOffsetReset::parse(text, &Rule::ANY).ok()
    }

    #[test]
    fn words_and_durations_are_read_and_shown() {
        let second = Duration::from_secs(1);
        for (text, value) in [
            ("earliest", AutoOffsetReset::Earliest),
            ("latest", AutoOffsetReset::Latest),
            ("none", AutoOffsetReset::None),
            ("by_duration:P2D", AutoOffsetReset::ByDuration(second * 172_800)),
            ("by_duration:P1DT2H3M4.5S", AutoOffsetReset::ByDuration(Duration::from_millis(93_784_500))),
            ("by_duration:PT90M", AutoOffsetReset::ByDuration(second * 5400)),
            ("by_duration:PT0S", AutoOffsetReset::ByDuration(Duration::ZERO)),
            ("by_duration:PT0.000000001S", AutoOffsetReset::ByDuration(Duration::from_nanos(1))),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
            assert_eq!(parse(&value.show()), Some(value), "{text} shown as {}", value.show());
        }
        assert_eq!(parse("EARLIEST"), Some(AutoOffsetReset::Earliest));
        assert_eq!(AutoOffsetReset::ByDuration(second * 93_784).show(), "by_duration:P1DT2H3M4S");
        assert_eq!(AutoOffsetReset::ByDuration(Duration::ZERO).show(), "by_duration:PT0S");
    }

    #[test]
    fn durations_that_have_no_fixed_length_or_make_no_sense_are_refused() {
        for text in [
            "", "P", "PT", "P1DT", "P1Y", "P1M", "PT1D", "P1H", "PT-1S", "-PT1S", "PT1.5H", "PT.5S", "PT1.S", "PT1S2M",
            "1S",
        ] {
            assert_eq!(parse(&format!("by_duration:{text}")), None, "{text}");
        }
        assert_eq!(parse("by_duration:P99999999999999999999D"), None);
        assert_eq!(parse("by_duration:P18446744073709551615D"), None);
        assert_eq!(parse("smallest"), None);
    }
}
