package io.hydraopt.demo.benchmark

import io.hydraopt.TaskBundle
import java.io.File
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The record of a bundle's sizes, in bytes, as the profiler's without `--base`. */
internal fun sizes(bundle: TaskBundle): Map<String, Any?> {
    val parts = parts(bundle)
    val tasks = bundle.tasks.size
    val separate = bundle.manifest.adapterBytes
    val own = Growth(parts.getValue("shared_factors"), parts.getValue("packs").toDouble() / tasks)
    val adapters = Growth(0, separate.toDouble() / tasks)
    return mapOf(
        "tasks" to tasks,
        "bundle" to parts,
        "separate_adapters" to separate,
        "separate_adapters_counted" to "fp16 factors of the adapters",
        "programs_included" to false,
        "variants" to mapOf(
            "bundle" to own.record(tasks, null),
            "adapters" to adapters.record(tasks, own.smallerFrom(adapters))
        )
    )
}

private fun parts(bundle: TaskBundle): Map<String, Long> {
    val manifest = bundle.manifest
    val (instructions, constants) = programParts(File(bundle.directory, "model.pte"))
    val packs = manifest.packs.values.distinct().map { it.length }
    val shared = manifest.files["shared.pack"]?.bytes ?: 0
    val total = bundle.bytes + File(bundle.directory, "manifest.json").length()
    return mapOf(
        "program_instructions" to instructions,
        "program_constants" to constants,
        "shared_factors" to shared,
        "packs" to packs.sum(),
        "largest_pack" to (packs.maxOrNull() ?: 0),
        "other_files" to total - instructions - constants - shared - packs.sum(),
        "total" to total
    )
}

/** Bytes of a .pte file's instructions and of its data, which its header tells apart. */
private fun programParts(program: File): Pair<Long, Long> {
    val head = ByteArray(DATA_OFFSET + Long.SIZE_BYTES)
    RandomAccessFile(program, "r").use { it.readFully(head) }
    val offset = ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getLong(DATA_OFFSET)
    val size = program.length()
    val data = if (offset == 0L) size else offset
    return data to size - data
}

/** After the root's offset, two magic words, the header's length and the program's size. */
private const val DATA_OFFSET = 4 + 4 + 4 + 4 + 8

/** Bytes of what grows with the number of tasks. */
private class Growth(val fixed: Long, val perTask: Double) {
    fun record(tasks: Int, smallerFrom: Long?) = mapOf(
        "fixed" to fixed,
        "per_task" to perTask,
        "at_tasks" to Math.round(fixed + tasks * perTask),
        "bundle_smaller_from" to smallerFrom
    )

    /** The number of tasks from which on this is the smaller one; null if it never is. */
    fun smallerFrom(other: Growth): Long? {
        if (perTask >= other.perTask) return null
        val gap = (fixed - other.fixed) / (other.perTask - perTask)
        return maxOf(1, gap.toLong() + 1)
    }
}
