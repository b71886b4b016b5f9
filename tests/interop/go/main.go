// A Workload API client on unmodified go-spiffe: what a Go workload does with signet.
//
//	interop watch COUNT            print each X.509 context until COUNT have come
//	interop fetch                  print the X.509-SVIDs and bundles once
//	interop jwt AUDIENCE           fetch a JWT-SVID, validate it here and by the agent, print it
//	interop jwt-validate AUDIENCE  have the agent and go-spiffe judge the token on standard input
//	interop serve ADDRESS ID       mutual TLS server for one client that must have ID
//	interop dial ADDRESS ID        mutual TLS client of a server that must have ID
//	interop wit                    the WIT-SVID profile, which signet does not have yet
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "interop: %s: %v\n", status.Code(errors.Unwrap(err)), err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("a subcommand is needed")
	}
	args = append(args, "", "")
	switch args[0] {
	case "watch":
		count, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return watch(ctx, count)
	case "fetch":
		x509Context, err := workloadapi.FetchX509Context(ctx)
		if err != nil {
			return err
		}
		printContext(x509Context)
		return nil
	case "jwt":
		return fetchJWT(ctx, args[1])
	case "jwt-validate":
		token, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		return validateJWT(ctx, strings.TrimSpace(string(token)), args[1])
	case "serve":
		return serve(ctx, args[1], args[2])
	case "dial":
		return dial(ctx, args[1], args[2])
	case "wit":
		_, err := workloadapi.FetchWITSVID(ctx, "")
		return err
	}
	return fmt.Errorf("unknown subcommand %q", args[0])
}

func printContext(x509Context *workloadapi.X509Context) {
	for _, svid := range x509Context.SVIDs {
		leaf := svid.Certificates[0]
		fmt.Printf("svid %s serial=%x not_after=%s hint=%q\n", svid.ID, leaf.SerialNumber, leaf.NotAfter.Format(time.RFC3339), svid.Hint)
	}
	for _, bundle := range x509Context.Bundles.Bundles() {
		fmt.Printf("bundle %s authorities=%d\n", bundle.TrustDomain(), len(bundle.X509Authorities()))
	}
}

type watcher struct {
	left int
	done chan error
}

func (w *watcher) OnX509ContextUpdate(x509Context *workloadapi.X509Context) {
	printContext(x509Context)
	if w.left--; w.left == 0 {
		w.done <- nil
	}
}

func (w *watcher) OnX509ContextWatchError(err error) {
	fmt.Printf("error %s\n", status.Code(err))
}

func watch(ctx context.Context, count int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watcher{left: count, done: make(chan error, 1)}
	go func() { w.done <- workloadapi.WatchX509Context(ctx, w) }()
	return <-w.done
}

func fetchJWT(ctx context.Context, audience string) error {
	svids, err := workloadapi.FetchJWTSVIDs(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	for _, svid := range svids {
		if err := validateJWT(ctx, svid.Marshal(), audience); err != nil {
			return err
		}
	}
	fmt.Println(svids[0].Marshal())
	return nil
}

func validateJWT(ctx context.Context, token, audience string) error {
	bundles, err := workloadapi.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	here, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience})
	if err != nil {
		return err
	}
	there, err := workloadapi.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return err
	}
	if here.ID != there.ID {
		return fmt.Errorf("go-spiffe says %s, the agent %s", here.ID, there.ID)
	}
	fmt.Printf("valid %s\n", there.ID)
	return nil
}

func tlsConfigs(ctx context.Context, id string) (*workloadapi.X509Source, tlsconfig.Authorizer, error) {
	peer, err := spiffeid.FromString(id)
	if err != nil {
		return nil, nil, err
	}
	source, err := workloadapi.NewX509Source(ctx)
	return source, tlsconfig.AuthorizeID(peer), err
}

func serve(ctx context.Context, address, id string) error {
	source, authorizer, err := tlsConfigs(ctx, id)
	if err != nil {
		return err
	}
	defer source.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Printf("listening %s\n", listener.Addr())
	plain, err := listener.Accept()
	if err != nil {
		return err
	}
	connection := tls.Server(plain, tlsconfig.MTLSServerConfig(source, source, authorizer))
	defer connection.Close()
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Printf("received %s", line)
	_, err = fmt.Fprintf(connection, "hello from go\n")
	return err
}

func dial(ctx context.Context, address, id string) error {
	source, authorizer, err := tlsConfigs(ctx, id)
	if err != nil {
		return err
	}
	defer source.Close()
	connection, err := tls.Dial("tcp", address, tlsconfig.MTLSClientConfig(source, source, authorizer))
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "hello from go\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Printf("received %s", line)
	return nil
}
