//! Damage to text and bytes, as networks and people who mean harm do it. The same seed does the same damage.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::Seed;

/// What readers stumble over.
const WORDS: [&[u8]; 32] = [
    b"\0",
    b"\r\n",
    b"\n\n",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"%",
    b"%00",
    b"%zz",
    b"+",
    b"=",
    b"==",
    b"&",
    b",",
    b";",
    b"{",
    b"[[[[[[[[",
    b"]",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
    "ㄱ".as_bytes(),
    "이음".as_bytes(),
    "🙂".as_bytes(),
    b"../",
    b"<script>",
];

/// One of `seeds`, damaged in a few places. What is JSON stays JSON nine times in ten: what reads it is to be reached.
pub fn damaged(seeds: &[Seed], seed: u64) -> Seed {
    let mut random = Rng::with_seed(seed);
    let mut input = seeds[random.usize(..seeds.len())].clone();
    if random.u8(..30) == 0 {
        return input;
    }
    if random.u8(..10) > 0
        && let Ok(mut value) = serde_json::from_slice::<Value>(&input.bytes)
    {
        for _ in 0..few(&mut random) {
            shuffle(&mut value, seeds, &mut random);
        }
        input.bytes = value.to_string().into_bytes();
        return input;
    }
    for _ in 0..few(&mut random) {
        damage(&mut input.bytes, seeds, &mut random);
    }
    input
}

/// One, or half as often one more, and so on.
fn few(random: &mut Rng) -> usize {
    1 + (0..7).take_while(|_| random.bool()).count()
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Seed], random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let to = bytes.len().min(at + random.usize(1..40));
    match random.u8(..10) {
        0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.u8(..)),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.u8(..8)),
        3 => drop(bytes.drain(at..to)),
        4 | 5 => drop(bytes.splice(at..at, WORDS[random.usize(..WORDS.len())].iter().copied())),
        6 => drop(bytes.splice(at..to, WORDS[random.usize(..WORDS.len())].iter().copied())),
        7 => {
            let part = bytes[at..to].to_vec();
            drop(bytes.splice(at..at, part.repeat(random.usize(1..30))));
        }
        8 => {
            let other = &seeds[random.usize(..seeds.len())].bytes;
            let from = random.usize(..=other.len());
            let part = other[from..other.len().min(from + to - at)].to_vec();
            drop(bytes.splice(at..to, part));
        }
        _ => bytes.truncate(at),
    }
}

/// Changes one node of `value`.
fn shuffle(value: &mut Value, seeds: &[Seed], random: &mut Rng) {
    let below = match value {
        Value::Object(members) => members.len(),
        Value::Array(items) => items.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    // A text that is JSON, a body in an event, is one more level.
    if let Value::String(text) = value
        && random.u8(..4) > 0
    {
        if let Ok(mut inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
            && random.u8(..4) > 0
        {
            shuffle(&mut inner, seeds, random);
            *text = inner.to_string();
            return;
        }
        let mut bytes = std::mem::take(text).into_bytes();
        damage(&mut bytes, seeds, random);
        *text = String::from_utf8_lossy(&bytes).into_owned();
        return;
    }
    if below == 0 || random.u8(..20) == 0 {
        *value = strange(random);
        return;
    }
    let at = random.usize(..below);
    match value {
        Value::Object(members) => {
            let name = members.keys().nth(at).cloned().unwrap_or_default();
            match random.u8(..8) {
                0 => drop(members.remove(&name)),
                1 => {
                    let member = members.remove(&name).unwrap_or_default();
                    members.insert(name.to_uppercase(), member);
                }
                2 => drop(
                    members.insert(String::from_utf8_lossy(WORDS[random.usize(..WORDS.len())]).into(), strange(random)),
                ),
                _ => members.get_mut(&name).into_iter().for_each(|member| shuffle(member, seeds, random)),
            }
        }
        Value::Array(items) => match random.u8(..6) {
            0 => drop(items.remove(at)),
            1 => items.extend(vec![items[at].clone(); random.usize(1..60)]),
            _ => shuffle(&mut items[at], seeds, random),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn strange(random: &mut Rng) -> Value {
    match random.u8(..12) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(i64::MIN),
        4 => json!(1e300),
        5 => json!({}),
        6 => json!([]),
        7 => json!(""),
        8 => json!("가".repeat(random.usize(..3_000))),
        9 => json!([[[[[[[["deep"]]]]]]]]),
        _ => Value::String(String::from_utf8_lossy(WORDS[random.usize(..WORDS.len())]).into()),
    }
}
