// DPDK's mempool, 32 KiB an object, with the cache of 256 that each core has: dpdk TABLE OPERATIONS prints the
// nanoseconds that so many operations take. A table that it does not know is exit status 2.
#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OBJECTS = 1023, BATCH = 64, IN_HAND = 256 };

static struct rte_mempool *pool;
static struct rte_ring *ring;
static unsigned long operations;
static atomic_int ready;

static void *get(void) {
  void *object;
  if (rte_mempool_get(pool, &object) != 0) abort();
  // As the other contestants' black_box: the compiler does not see that it goes straight back.
  __asm__ volatile("" : "+r"(object) : : "memory");
  return object;
}

static int one(void *unused) {
  (void)unused;
  atomic_fetch_add(&ready, 1);
  while (atomic_load(&ready) < 2) rte_pause();
  for (unsigned long n = 0; n < operations; n++) rte_mempool_put(pool, get());
  return 0;
}

static void many(void) {
  void *held[BATCH];
  for (unsigned long n = 0; n < operations / BATCH; n++) {
    for (int i = 0; i < BATCH; i++) held[i] = get();
    for (int i = 0; i < BATCH; i++) rte_mempool_put(pool, held[i]);
  }
}

static void bulk(void) {
  void *held[BATCH];
  for (unsigned long n = 0; n < operations / BATCH; n++) {
    if (rte_mempool_get_bulk(pool, held, BATCH) != 0) abort();
    __asm__ volatile("" : : "r"(held) : "memory");
    rte_mempool_put_bulk(pool, held, BATCH);
  }
}

static int give_back(void *unused) {
  (void)unused;
  void *object;
  for (unsigned long n = 0; n < operations; n++) {
    while (rte_ring_sc_dequeue(ring, &object) != 0) rte_pause();
    rte_mempool_put(pool, object);
  }
  return 0;
}

static void hand_off(void) {
  for (unsigned long n = 0; n < operations; n++) {
    void *object = get();
    while (rte_ring_sp_enqueue(ring, object) != 0) rte_pause();
  }
  rte_eal_mp_wait_lcore();
}

int main(int count, char **arguments) {
  if (count != 3) {
    fputs("usage: dpdk TABLE OPERATIONS\n", stderr);
    return 1;
  }
  const char *table = arguments[1];
  operations = strtoul(arguments[2], NULL, 10);
  char *eal[] = {"dpdk", "--no-huge", "--no-pci", "-m", "128", "-l", "0,1", "--log-level", "3", "--no-telemetry",
                 "--no-shconf"};
  if (rte_eal_init(sizeof eal / sizeof *eal, eal) < 0) return 1;
  pool = rte_mempool_create("segments", OBJECTS, 32 << 10, 256, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
  ring = rte_ring_create("there", IN_HAND, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (!pool || !ring) {
    fputs("dpdk: no memory for the pool\n", stderr);
    return 1;
  }
  unsigned other = rte_get_next_lcore(-1, 1, 0);
  atomic_store(&ready, 1); // but for two threads, nobody is waited for
  struct timespec start, end;
  if (strcmp(table, "two") == 0) {
    atomic_store(&ready, 0);
    rte_eal_remote_launch(one, NULL, other);
    while (atomic_load(&ready) == 0) rte_pause();
  } else if (strcmp(table, "hand-off") == 0) {
    rte_eal_remote_launch(give_back, NULL, other);
  }
  clock_gettime(CLOCK_MONOTONIC, &start);
  if (strcmp(table, "one") == 0) one(NULL);
  else if (strcmp(table, "two") == 0) one(NULL), rte_eal_mp_wait_lcore();
  else if (strcmp(table, "many") == 0) many();
  else if (strcmp(table, "bulk") == 0) bulk();
  else if (strcmp(table, "hand-off") == 0) hand_off();
  else return 2;
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
  return 0;
}
