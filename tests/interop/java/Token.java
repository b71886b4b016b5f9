import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.Socket;
import java.security.KeyStore;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedKeyManager;

/**
 * A process that runs for long and makes mutual TLS with keys of the token. Reads "load" and "connect LABEL PORT", a line
 * each, and answers each with a line: "ok" and what the peer said, or "failed" and why.
 */
public final class Token {
    private static Provider provider;
    private static KeyStore keys;
    private static KeyStore bundle;
    private static final Map<String, Identity> identities = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        Security.addProvider(provider);
        bundle = readBundle(arguments[1]);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            System.out.println(answer(line.split(" ")));
        }
    }

    private static String answer(String[] words) {
        try {
            if (words[0].equals("load")) {
                keys = KeyStore.getInstance("PKCS11", provider);
                keys.load(null, null);
                identities.clear();
                for (String label : Collections.list(keys.aliases())) {
                    if (keys.isKeyEntry(label)) {
                        identities.put(label, new Identity(label));
                    }
                }
                return "ok";
            }
            return "ok " + connect(words[1], Integer.parseInt(words[2]));
        } catch (Exception e) {
            StringBuilder reasons = new StringBuilder("failed");
            for (Throwable cause = e; cause != null; cause = cause.getCause()) {
                reasons.append(": ").append(cause);
            }
            return reasons.toString();
        }
    }

    private static String connect(String label, int port) throws Exception {
        Identity identity = identities.get(label);
        if (identity == null) {
            throw new IOException("the token has no key labelled " + label);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(bundle);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(new KeyManager[] {identity}, trust.getTrustManagers(), null);
        StringBuilder page = new StringBuilder();
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("localhost", port)) {
            socket.getOutputStream().write("GET / HTTP/1.0\r\n\r\n".getBytes());
            BufferedReader reader = new BufferedReader(new InputStreamReader(socket.getInputStream()));
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                page.append(' ').append(line);
            }
        }
        return page.toString();
    }

    private static KeyStore readBundle(String path) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(path)) {
            for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                store.setCertificateEntry("bundle" + store.size(), certificate);
            }
        }
        return store;
    }

    /** One identity of a process that has several. */
    private static final class Identity extends X509ExtendedKeyManager {
        private final String label;
        private final PrivateKey key;
        private final X509Certificate[] chain;

        Identity(String label) throws Exception {
            this.label = label;
            key = (PrivateKey) keys.getKey(label, null);
            Certificate[] certificates = keys.getCertificateChain(label);
            chain = Arrays.copyOf(certificates, certificates.length, X509Certificate[].class);
            signDocument();
        }

        /** More data at once than any TLS handshake has. */
        private void signDocument() throws Exception {
            String algorithm = key.getAlgorithm().equals("EC") ? "SHA256withECDSA" : "SHA256withRSA";
            byte[] document = new byte[1000000];
            Signature signing = Signature.getInstance(algorithm, provider);
            signing.initSign(key);
            signing.update(document);
            Signature verifying = Signature.getInstance(algorithm);
            verifying.initVerify(chain[0]);
            verifying.update(document);
            if (!verifying.verify(signing.sign())) {
                throw new IOException("the signature of a document is wrong");
            }
        }

        @Override public String[] getClientAliases(String type, Principal[] issuers) { return new String[] {label}; }
        @Override public String[] getServerAliases(String type, Principal[] issuers) { return null; }
        @Override public String chooseServerAlias(String type, Principal[] issuers, Socket socket) { return null; }
        @Override public X509Certificate[] getCertificateChain(String alias) { return chain; }
        @Override public PrivateKey getPrivateKey(String alias) { return key; }

        @Override public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) {
            return Arrays.asList(types).contains(key.getAlgorithm()) ? label : null;
        }
    }
}
