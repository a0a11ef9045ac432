// QXmpp 1.4 sending and receiving files by SI (XEP-0095/0096), as a peer driven by lines of JSON;
// see ../peer.py. Debian: libqxmpp-dev qtbase5-dev g++ pkg-config. The tests build it:
//
//   g++ -O1 -fPIC -std=c++17 qxmpp.cpp -o qxmpp $(pkg-config --cflags --libs qxmpp Qt5Core Qt5Network Qt5Xml)
//   qxmpp JID PASSWORD SERVER PORT SAVEDIR [accept|decline] [PROXYJID|-] [proxyonly]
//
// commands: file to path | im to text
// events:   ready signed-on conn-error im; file-recv-request file size who method;
//           file-saved local size sha256; file-recv-cancel; file-offered sid; file-send-start;
//           file-send-complete; file-send-cancel
#include <QCoreApplication>
#include <QCryptographicHash>
#include <QFile>
#include <QFileInfo>
#include <QJsonDocument>
#include <QJsonObject>
#include <QSocketNotifier>
#include <QXmppClient.h>
#include <QXmppConfiguration.h>
#include <QXmppMessage.h>
#include <QXmppTransferManager.h>
#include <cstdio>
#include <unistd.h>

static void report(const QString &event, QJsonObject fields = {})
{
    fields["event"] = event;
    printf("%s\n", QJsonDocument(fields).toJson(QJsonDocument::Compact).constData());
    fflush(stdout);
}

class Peer : public QObject
{
public:
    Peer(const QStringList &arguments);

private:
    void offered(QXmppTransferJob *job);
    void saved(QXmppTransferJob *job, QFile *file);
    void send(const QString &to, const QString &path);
    void readCommands();
    void command(const QJsonObject &order);

    QXmppClient m_client;
    QXmppTransferManager *m_transfers = new QXmppTransferManager;
    QSocketNotifier m_input{ 0, QSocketNotifier::Read };
    QByteArray m_pending;
    QString m_folder;
    bool m_accept;
};

Peer::Peer(const QStringList &arguments)
    : m_folder(arguments[5]), m_accept(arguments.value(6, "accept") == "accept")
{
    m_client.addExtension(m_transfers);
    if (arguments.value(7, "-") != "-")
        m_transfers->setProxy(arguments[7]);
    m_transfers->setProxyOnly(arguments.value(8) == "proxyonly");

    connect(&m_client, &QXmppClient::connected, [] { report("signed-on"); });
    connect(&m_client, &QXmppClient::error, [](QXmppClient::Error code) { report("conn-error", { { "code", code } }); });
    connect(&m_client, &QXmppClient::messageReceived, [](const QXmppMessage &message) {
        report("im", { { "sender", message.from() }, { "text", message.body() } });
    });
    connect(m_transfers, &QXmppTransferManager::fileReceived, [this](QXmppTransferJob *job) { offered(job); });
    connect(&m_input, &QSocketNotifier::activated, [this] { readCommands(); });

    QXmppConfiguration configuration;
    configuration.setJid(arguments[1]);
    configuration.setPassword(arguments[2]);
    configuration.setHost(arguments[3]);
    configuration.setPort(arguments[4].toInt());
    configuration.setStreamSecurityMode(QXmppConfiguration::TLSDisabled);
    configuration.setUseNonSASLAuthentication(false);
    m_client.connectToServer(configuration);
    report("ready");
}

void Peer::offered(QXmppTransferJob *job)
{
    report("file-recv-request", { { "file", job->fileName() },
                                  { "size", job->fileSize() },
                                  { "who", job->jid() },
                                  { "method", job->method() } });
    if (!m_accept) {
        job->abort();
        return;
    }
    // accept(path) would leave the tail of the file in a buffer until the job is deleted.
    auto *file = new QFile(m_folder + "/" + QFileInfo(job->fileName()).fileName(), this);
    file->open(QIODevice::WriteOnly);
    connect(job, &QXmppTransferJob::finished, [this, job, file] { saved(job, file); });
    job->accept(file);
}

void Peer::saved(QXmppTransferJob *job, QFile *file)
{
    file->close();
    if (job->error() != QXmppTransferJob::NoError) {
        report("file-recv-cancel", { { "error", job->error() } });
        return;
    }
    QCryptographicHash digest(QCryptographicHash::Sha256);
    file->open(QIODevice::ReadOnly);
    digest.addData(file);
    report("file-saved", { { "local", file->fileName() },
                           { "size", file->size() },
                           { "sha256", QString::fromLatin1(digest.result().toHex()) } });
    file->close();
}

void Peer::send(const QString &to, const QString &path)
{
    auto *job = m_transfers->sendFile(to, path);
    report("file-offered", { { "sid", job->sid() } });
    connect(job, &QXmppTransferJob::stateChanged, [](QXmppTransferJob::State state) {
        if (state == QXmppTransferJob::TransferState)
            report("file-send-start");
    });
    connect(job, &QXmppTransferJob::finished, [job] {
        if (job->error() == QXmppTransferJob::NoError)
            report("file-send-complete", { { "method", job->method() } });
        else
            report("file-send-cancel", { { "error", job->error() } });
    });
}

void Peer::readCommands()
{
    char block[4096];
    const auto size = read(0, block, sizeof block);
    if (size <= 0)
        _exit(0);
    m_pending.append(block, size);
    for (int end; (end = m_pending.indexOf('\n')) >= 0; m_pending.remove(0, end + 1))
        command(QJsonDocument::fromJson(m_pending.left(end)).object());
}

void Peer::command(const QJsonObject &order)
{
    const auto name = order["cmd"].toString();
    if (name == "file")
        send(order["to"].toString(), order["path"].toString());
    else if (name == "im")
        m_client.sendMessage(order["to"].toString(), order["text"].toString());
}

int main(int argc, char **argv)
{
    QCoreApplication application(argc, argv);
    Peer peer(application.arguments());
    return application.exec();
}
