//! A name server whose answers are scripted.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex};

const A: u16 = 1;
const AAAA: u16 = 28;

/// What it says to a question.
#[derive(Clone, Debug)]
pub enum Say {
    /// These, each kind to the question about it.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// Nothing, ever.
    Nothing,
}

impl Say {
    /// Addresses as texts.
    pub fn these(addresses: &[&str]) -> Self {
        let parsed = addresses.iter().map(|text| text.parse().expect("an address"));
        Self::Addresses(parsed.collect())
    }
}

/// Listens at the port of DNS, on a thread that lives as long as the process: the machine of the
/// test ends with it.
pub struct Dns {
    asked: Arc<Mutex<HashMap<(String, u16), usize>>>,
}

impl Dns {
    /// The script gets the name, and how often it was asked for before.
    pub fn start(script: impl Fn(&str, usize) -> Say + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("the port of DNS");
        let asked: Arc<Mutex<HashMap<(String, u16), usize>>> = Arc::default();
        let counts = asked.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let Some(question) = Question::read(&packet[..length]) else { continue };
                let before = {
                    let key = (question.name.clone(), question.kind);
                    let mut counts = counts.lock().expect("no panic");
                    let count = counts.entry(key).or_insert(0);
                    *count += 1;
                    *count - 1
                };
                let say = script(&question.name, before);
                if let Some(answer) = question.answer(&packet[..length], &say) {
                    // Who asked may have given up.
                    socket.send_to(&answer, from).ok();
                }
            }
        });
        Self { asked }
    }

    /// How many look-ups began, of all names.
    pub fn look_ups(&self) -> usize {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().filter(|((_, kind), _)| *kind == A).map(|(_, count)| count).sum()
    }
}

struct Question {
    name: String,
    kind: u16,
    /// Where the question ends.
    end: usize,
}

impl Question {
    fn read(packet: &[u8]) -> Option<Self> {
        let mut at = 12;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
        Some(Self { name: labels.join("."), kind, end: at + 4 })
    }

    fn answer(&self, packet: &[u8], say: &Say) -> Option<Vec<u8>> {
        let (code, addresses) = match say {
            Say::Nothing => return None,
            Say::Addresses(addresses) => (0, addresses.as_slice()),
            Say::Failure => (2, &[][..]),
            Say::NoSuchName => (3, &[][..]),
        };
        let asked = addresses.iter().filter(|ip| match self.kind {
            A => ip.is_ipv4(),
            AAAA => ip.is_ipv6(),
            _ => false,
        });
        let records: Vec<Vec<u8>> = asked.map(|ip| self.record(*ip)).collect();
        let count = u16::try_from(records.len()).expect("a count");
        let mut answer = packet[..2].to_vec();
        // A response to a question that wanted recursion, which there is.
        answer.extend([0x81, 0x80 | code, 0, 1]);
        answer.extend(count.to_be_bytes());
        answer.extend([0, 0, 0, 0]);
        answer.extend(&packet[12..self.end]);
        answer.extend(records.concat());
        Some(answer)
    }

    /// A record with the name of the question and a time to live of 0.
    fn record(&self, ip: IpAddr) -> Vec<u8> {
        let data = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let mut record = vec![0xc0, 12];
        record.extend(self.kind.to_be_bytes());
        record.extend([0, 1, 0, 0, 0, 0]);
        record.extend(u16::try_from(data.len()).expect("a length").to_be_bytes());
        record.extend(data);
        record
    }
}
