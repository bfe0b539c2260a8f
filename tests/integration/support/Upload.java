// Uploads a file by each client of HTTP that Java has, and prints what each sees: `CLIENT STATUS` or `CLIENT failed WHY`.
//
// usage: java Upload.java FILE CA URL...

import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.concurrent.Callable;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

class Upload {
    public static void main(String[] arguments) throws Exception {
        Path file = Path.of(arguments[0]);
        SSLContext tls = trusting(arguments[1]);
        HttpsURLConnection.setDefaultSSLSocketFactory(tls.getSocketFactory());
        for (int at = 2; at < arguments.length; at++) {
            String url = arguments[at];
            print("of old, length known", () -> byConnection(url, file, false));
            print("of old, chunked", () -> byConnection(url, file, true));
            // Over plain HTTP the second offers to change to HTTP/2 (h2c).
            for (HttpClient.Version version : HttpClient.Version.values()) {
                HttpClient client = HttpClient.newBuilder().sslContext(tls).version(version).build();
                print(version + ", length known", () -> byClient(client, url, BodyPublishers.ofFile(file)));
                print(version + ", unknown", () -> byClient(client, url,
                    BodyPublishers.ofInputStream(() -> open(file))));
            }
        }
        System.exit(0);
    }

    static void print(String client, Callable<Integer> upload) {
        try {
            System.out.println(client + ": " + upload.call());
        } catch (Exception failure) {
            System.out.println(client + ": failed " + failure);
        }
    }

    static int byConnection(String url, Path file, boolean isChunked) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setRequestMethod("PUT");
        connection.setDoOutput(true);
        connection.setConnectTimeout(20_000);
        connection.setReadTimeout(20_000);
        if (isChunked) {
            connection.setChunkedStreamingMode(65536);
        } else {
            connection.setFixedLengthStreamingMode(Files.size(file));
        }
        try (var output = connection.getOutputStream()) {
            Files.copy(file, output);
        }
        return connection.getResponseCode();
    }

    static int byClient(HttpClient client, String url, HttpRequest.BodyPublisher body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(20)).PUT(body).build();
        return client.send(request, BodyHandlers.discarding()).statusCode();
    }

    static FileInputStream open(Path file) {
        try {
            return new FileInputStream(file.toFile());
        } catch (java.io.IOException failure) {
            throw new java.io.UncheckedIOException(failure);
        }
    }

    static SSLContext trusting(String ca) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var input = new FileInputStream(ca)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(input));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }
}
