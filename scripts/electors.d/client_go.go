// One candidate of an election by client-go's library. It does nothing while it leads. SIGTERM and
// SIGINT end it; with -release it gives the Lease back first.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type options struct {
	kubeconfig, lease, identity string
	release, json               bool
	duration, deadline, retry   time.Duration
}

func main() {
	var asked options
	flag.StringVar(&asked.kubeconfig, "kubeconfig", "", "whose server and user are used")
	flag.StringVar(&asked.lease, "lease", "", "NAMESPACE/NAME")
	flag.StringVar(&asked.identity, "identity", "", "the holder's name in the Lease")
	flag.BoolVar(&asked.release, "release", false, "empty the Lease at the end of the leadership")
	flag.BoolVar(&asked.json, "json", false, "send and accept JSON, for a server that reads no protobuf")
	flag.DurationVar(&asked.duration, "duration", 15*time.Second, "of the Lease")
	flag.DurationVar(&asked.deadline, "deadline", 10*time.Second, "of a renewal")
	flag.DurationVar(&asked.retry, "retry", 2*time.Second, "between two attempts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := stand(ctx, asked); err != nil {
		log.Fatalf("%s: %v", asked.identity, err)
	}
}

// stand runs for leader until the context ends or the leadership is lost.
func stand(ctx context.Context, asked options) error {
	namespace, name, found := strings.Cut(asked.lease, "/")
	if !found || asked.identity == "" {
		return errors.New("expected -lease NAMESPACE/NAME and -identity")
	}
	config, err := clientcmd.BuildConfigFromFlags("", asked.kubeconfig)
	if err != nil {
		return err
	}
	if asked.json {
		config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	}
	client, err := coordination.NewForConfig(config)
	if err != nil {
		return err
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: asked.identity},
		},
		LeaseDuration:   asked.duration,
		RenewDeadline:   asked.deadline,
		RetryPeriod:     asked.retry,
		ReleaseOnCancel: asked.release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { log.Printf("%s leads", asked.identity) },
			OnStoppedLeading: func() { log.Printf("%s does not lead", asked.identity) },
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return errors.New("lost the Lease")
	}
	return nil
}
