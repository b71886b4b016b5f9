// A process that runs for long and makes mutual TLS with keys of the PKCS#11 token, by crypto11. Reads "load" and
// "connect LABEL PORT", a line each, and answers each with a line: "ok" and what the peer said, or "failed" and why.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ThalesIgnite/crypto11"
)

var identities map[string]tls.Certificate

func load(token *crypto11.Context) error {
	certificates, err := token.FindAllPairedCertificates()
	if err != nil {
		return err
	}
	identities = map[string]tls.Certificate{}
	for _, certificate := range certificates {
		for _, uri := range certificate.Leaf.URIs {
			identities[strings.TrimPrefix(uri.Path, "/")] = certificate
		}
	}
	return nil
}

func connect(label, port string, bundle *x509.CertPool) (string, error) {
	identity, is_known := identities[label]
	if !is_known {
		return "", fmt.Errorf("the token has no key labelled %s", label)
	}
	connection, err := tls.Dial("tcp", "localhost:"+port, &tls.Config{Certificates: []tls.Certificate{identity}, RootCAs: bundle})
	if err != nil {
		return "", err
	}
	defer connection.Close()
	fmt.Fprint(connection, "GET / HTTP/1.0\r\n\r\n")
	page, err := io.ReadAll(connection)
	return strings.ReplaceAll(strings.ReplaceAll(string(page), "\r", ""), "\n", " "), err
}

func run() error {
	pem, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	bundle := x509.NewCertPool()
	bundle.AppendCertsFromPEM(pem)
	token, err := crypto11.Configure(&crypto11.Config{
		Path:              os.Getenv("PKCS11_MODULE_PATH"),
		TokenLabel:        "signet",
		LoginNotSupported: true,
	})
	if err != nil {
		return err
	}
	defer token.Close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Fields(lines.Text())
		page := ""
		if words[0] == "load" {
			err = load(token)
		} else {
			page, err = connect(words[1], words[2], bundle)
		}
		if err != nil {
			fmt.Println("failed", err)
		} else {
			fmt.Println("ok", page)
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "token:", err)
		os.Exit(1)
	}
}
