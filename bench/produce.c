/* librdkafka's producer: produce BOOTSTRAP TOPIC COUNT sends records of 100 bytes without keys, and prints records per second. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long delivered, failed;

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
    (void)producer, (void)opaque;
    if (message->err)
        failed++;
    else
        delivered++;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
}

int main(int argc, char **argv) {
    char error[256], value[100];
    if (argc != 4) return fprintf(stderr, "usage: produce BOOTSTRAP TOPIC COUNT\n"), 2;
    long count = atol(argv[3]);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "acks", "all");
    set(conf, "linger.ms", "5");
    set(conf, "queue.buffering.max.messages", "1000000");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    if (!producer) return fprintf(stderr, "%s\n", error), 1;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, argv[2], NULL);
    memset(value, 'x', sizeof value);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long sent = 0; sent < count;) {
        if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value, sizeof value, NULL, 0, NULL) == 0)
            sent++;
        else
            rd_kafka_poll(producer, 10);
        if (sent % 1000 == 0) rd_kafka_poll(producer, 0);
    }
    rd_kafka_flush(producer, 60000);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (failed || delivered != count) return fprintf(stderr, "%ld delivered, %ld failed\n", delivered, failed), 1;
    printf("%.0f\n", count / ((end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9));
    return 0;
}
