// A member of a consumer group by franz-go, until SIGTERM: franz BOOTSTRAP GROUP TOPIC STRATEGY.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	output sync.Mutex
	owned  = map[int32]bool{}
)

func say(word string, partitions []int32) {
	sort.Slice(partitions, func(i, j int) bool { return partitions[i] < partitions[j] })
	line := word
	for _, partition := range partitions {
		line += fmt.Sprint(" ", partition)
	}
	fmt.Println(line)
}

func main() {
	bootstrap, group, topic, strategy := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	balancer := map[string]kgo.GroupBalancer{
		"range":              kgo.RangeBalancer(),
		"roundrobin":         kgo.RoundRobinBalancer(),
		"sticky":             kgo.StickyBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}[strategy]
	taken := func(word string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			output.Lock()
			defer output.Unlock()
			for _, partition := range partitions[topic] {
				delete(owned, partition)
			}
			say(word, partitions[topic])
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(balancer),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			output.Lock()
			defer output.Unlock()
			for _, partition := range partitions[topic] {
				owned[partition] = true
			}
			all := []int32{}
			for partition := range owned {
				all = append(all, partition)
			}
			say("assigned", all)
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, partitions map[string][]int32) {
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				fmt.Fprintln(os.Stderr, "commit:", err)
			}
			taken("revoked")(ctx, client, partitions)
		}),
		kgo.OnPartitionsLost(taken("lost")),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		output.Lock()
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Printf("record %d %d %s\n", record.Partition, record.Offset, record.Value)
		})
		output.Unlock()
		client.AllowRebalance()
	}
	if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "commit:", err)
	}
	client.CloseAllowingRebalance()
}
