//! An MQTT broker that is not ours: the way to it, TLS, and whether it lets this client in.
//!
//! - Under another client id than the service's, so that one that runs is not cut off.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Checkup, certificate, reach};
use crate::broker::{Access, explain};
use crate::mqtt_address::MqttAddress;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Greatest packet that is read, bytes: a CONNACK has four.
const LONGEST: usize = 64;

/// A broker, and as whom it is spoken to.
#[derive(Debug, Clone, Copy)]
pub struct Broker<'a> {
    /// Where it is.
    pub address: &'a MqttAddress,
    /// What is shown there.
    pub access: &'a Access,
    /// The client id of the service.
    pub client_id: &'a str,
    /// The table where `access` stands, such as `relay.broker`.
    pub table: &'a str,
}

/// Looks at it.
pub async fn examine(broker: Broker<'_>, checkup: &mut Checkup) {
    let Broker { address, access, client_id, table } = broker;
    if let Err(error) = access.check_files() {
        return checkup.fail("files of the broker", format!("{error} ({table})"));
    }
    let subject = format!("broker {address}");
    let reached = match reach::connect(address.bare_host(), address.port()).await {
        Ok(reached) => reached,
        Err(error) => return checkup.fail(subject, error.to_string()),
    };
    checkup.ok(&subject, format!("{} answers in {} ms", reached.address, reached.took.as_millis()));
    let user = access.username.as_deref().unwrap_or(client_id);
    let asked = if address.is_secure() {
        let config = match access.tls() {
            Ok(config) => config,
            Err(error) => return checkup.fail(subject, error.to_string()),
        };
        let Ok(name) = ServerName::try_from(address.bare_host().to_owned()) else {
            return checkup.fail(subject, "its host cannot stand in a certificate: name it by a name or an address");
        };
        let secured = match reach::handshake(reached.stream, config, name).await {
            Ok(secured) => secured,
            Err(error) => return checkup.fail(subject, explain(&error).unwrap_or_else(|| no_tls(&error))),
        };
        if let Some(good) = secured.chain.first().and_then(certificate::validity) {
            certificate::expiry(&subject, "its certificate is ", good, "have the broker's renewed", checkup);
        }
        ask(secured.stream, access, client_id, user).await
    } else {
        ask(reached.stream, access, client_id, user).await
    };
    judge(&subject, asked, user, table, checkup);
}

fn no_tls(error: &io::Error) -> String {
    format!("what answers there speaks no TLS, or hangs up: {error}")
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    access: &Access,
    client_id: &str,
    user: &str,
) -> io::Result<ConnectReturnCode> {
    let password = access.password().map_err(io::Error::other)?;
    let mut connect = Connect::new(format!("{client_id}_doctor"));
    connect.set_login(user, password.reveal());
    let mut out = BytesMut::new();
    let put = |packet: Packet, out: &mut BytesMut| packet.write(out, usize::MAX).map_err(io::Error::other);
    put(Packet::Connect(connect), &mut out)?;
    stream.write_all(&out).await?;
    stream.flush().await?;
    let answered = timeout(ANSWER_WITHIN, answer(&mut stream)).await;
    let code = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    out.clear();
    put(Packet::Disconnect, &mut out)?;
    // It was answered: how the goodbye is taken says nothing.
    let _ = stream.write_all(&out).await;
    let _ = stream.shutdown().await;
    Ok(code)
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ConnectReturnCode> {
    let mut buffer = BytesMut::new();
    loop {
        match Packet::read(&mut buffer, LONGEST) {
            Ok(Packet::ConnAck(ConnAck { code, .. })) => return Ok(code),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) if buffer.len() < LONGEST => {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(_) | Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks no MQTT 3.1.1")),
        }
    }
}

fn judge(subject: &str, asked: io::Result<ConnectReturnCode>, user: &str, table: &str, checkup: &mut Checkup) {
    match asked {
        Ok(ConnectReturnCode::Success) => checkup.ok(
            subject,
            format!("lets user {user} in; which topics it may use is only known once the service does (deploy/brokers)"),
        ),
        Ok(ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized) => checkup.fail(
            subject,
            format!("refuses user {user}: look at username, password_file and certificate_file of {table}, and at the broker's users"),
        ),
        Ok(ConnectReturnCode::BadClientId) => checkup.warn(
            subject,
            "refuses the client id that doctor uses in place of the service's: whether it lets the service in is not known",
        ),
        Ok(code) => checkup.fail(subject, format!("refuses a client of MQTT 3.1.1: {code:?}")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            checkup.fail(subject, format!("hangs up: look at its log, and at username and password_file of {table}"));
        }
        Err(error) => checkup.fail(subject, format!("does not answer as an MQTT broker: {error}; is the port right?")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::Grade;
    use super::*;

    /// What is said of a broker that answers every CONNECT so.
    async fn answered(bytes: &'static [u8]) -> (Option<Grade>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: MqttAddress = format!("mqtt://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut connect = [0; 256];
            let read = stream.read(&mut connect).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            String::from_utf8_lossy(&connect[..read]).into_owned()
        });
        let access = Access { username: Some("anna".to_owned()), ..Access::default() };
        let mut checkup = Checkup::new();
        let broker = Broker { address: &address, access: &access, client_id: "attic", table: "relay.broker" };
        examine(broker, &mut checkup).await;
        let connect = server.await.unwrap();
        assert!(connect.contains("attic_doctor") && connect.contains("anna"), "{connect:?}");
        (checkup.worst(), checkup.to_string())
    }

    #[tokio::test]
    async fn what_a_broker_answers_says_what_to_look_at() {
        let (worst, said) = answered(&[0x20, 2, 0, 0]).await;
        assert!(worst == Some(Grade::Ok) && said.contains("lets user anna in"), "{said}");
        for code in [&[0x20, 2, 0, 4], &[0x20, 2, 0, 5]] {
            let (worst, said) = answered(code).await;
            assert!(worst == Some(Grade::Fail) && said.contains("password_file"), "{said}");
        }
        assert_eq!(answered(&[0x20, 2, 0, 2]).await.0, Some(Grade::Warn));
        assert!(answered(b"").await.1.contains("hangs up"));
        assert!(answered(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.1.contains("is the port right?"));
    }
}
