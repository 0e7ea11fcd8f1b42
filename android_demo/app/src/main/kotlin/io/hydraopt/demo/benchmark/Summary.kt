package io.hydraopt.demo.benchmark

import java.util.Locale

/** The most important figures with a number of threads, one a line. */
internal fun summary(workload: Workload, samples: Samples, threads: Int): List<String> {
    fun figure(metric: String, name: String) =
        samples.statistics(Key(metric, threads)).getValue(name) as Double
    fun rate(metric: String, tokens: Int) = 1000 * tokens / figure(metric, "median")
    return listOf(
        "Switch: %.2f ms (p50), %.2f ms (p95)"
            .with(figure("swap_ms", "median"), figure("swap_ms", "p95")),
        "First token after it: %.2f ms".with(figure("first_token_ms", "median")),
        "Prefill: %.0f tokens/s".with(rate("prefill_ms", workload.prompt)),
        "Decode: %.0f tokens/s".with(rate("decode_ms", 1)),
        "Load: %.0f ms".with(figure("load_warm_ms", "median")),
        "Peak of memory: %.0f MB".with(figure("peak_bytes", "median") / 1e6)
    )
}

private fun String.with(vararg values: Any) = String.format(Locale.ROOT, this, *values)
