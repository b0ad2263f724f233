// The service discovery of Prometheus for Kubernetes, without the rest of it: it answers over HTTP with
// the labels of the targets that would be scraped.
package main

import (
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"net/http"
	"os"
	"sync"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// The targets of each source; an update without targets is the end of its source.
type groups struct {
	sync.Mutex
	bySource map[string]*targetgroup.Group
}

func (g *groups) take(update []*targetgroup.Group) {
	g.Lock()
	defer g.Unlock()
	for _, group := range update {
		g.bySource[group.Source] = group
	}
}

func (g *groups) labels() []model.LabelSet {
	g.Lock()
	defer g.Unlock()
	found := []model.LabelSet{}
	for _, group := range g.bySource {
		for _, target := range group.Targets {
			found = append(found, target.Merge(group.Labels))
		}
	}
	return found
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: prometheus KUBECONFIG ADDRESS")
	}
	settings := &kubernetes.SDConfig{
		Role:             kubernetes.RoleEndpointSlice,
		KubeConfig:       os.Args[1],
		HTTPClientConfig: config.DefaultHTTPClientConfig,
	}
	registry := client.NewRegistry()
	discoverer, err := settings.NewDiscoverer(discovery.DiscovererOptions{
		Logger:  slog.Default(),
		Metrics: settings.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry)),
	})
	if err != nil {
		log.Fatal(err)
	}
	known := groups{bySource: map[string]*targetgroup.Group{}}
	updates := make(chan []*targetgroup.Group)
	go discoverer.Run(context.Background(), updates)
	go func() {
		for update := range updates {
			known.take(update)
		}
	}()
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(answer).Encode(known.labels()); err != nil {
			log.Print(err)
		}
	})
	log.Fatal(http.ListenAndServe(os.Args[2], nil))
}
