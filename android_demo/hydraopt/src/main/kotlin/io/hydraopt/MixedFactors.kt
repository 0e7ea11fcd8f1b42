package io.hydraopt

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Tensor

/**
 * A weighted sum of tasks' factors, in memory of its own: `unpack` overwrites its results.
 *
 * Where tasks share the rows of a module, the sum of their columns is all that changes. A head is
 * no delta, and stays as it is.
 *
 * @param names names of the factors, in the program's order.
 */
internal class MixedFactors(private val names: List<String>) {
    private var sums: List<FloatBuffer> = listOf()

    /** The sum, as inputs of `forward`. */
    var values: Array<EValue> = arrayOf()
        private set

    /** Modules whose rows the tasks do not share. */
    val unshared = ArrayList<String>()

    /** Adds a task's factors times its weight. */
    fun add(factors: Array<EValue>, weight: Float) {
        val tensors = factors.map { it.toTensor() }
        val first = sums.isEmpty()
        if (first) {
            sums = tensors.map { zeros(Math.toIntExact(it.numel())) }
            values = Array(sums.size) {
                EValue.from(Tensor.fromBlob(sums[it], tensors[it].shape()))
            }
        }
        for ((index, name) in names.withIndex()) {
            val found = FloatArray(sums[index].capacity())
            tensors[index].copyDataInto(FloatBuffer.wrap(found))
            when {
                isWeighed(name) -> addTo(sums[index], found, weight)
                first -> sums[index].duplicate().put(found)
                !isEqual(sums[index], found) -> unshared.add(name.substringBeforeLast('.'))
            }
        }
    }

    private fun isWeighed(name: String) = name.endsWith(".B") && !name.endsWith(".task_head.B")

    private fun addTo(sum: FloatBuffer, values: FloatArray, weight: Float) {
        for (index in values.indices) sum.put(index, sum.get(index) + values[index] * weight)
    }

    private fun isEqual(one: FloatBuffer, other: FloatArray) =
        other.indices.all { one.get(it) == other[it] }

    private fun zeros(size: Int): FloatBuffer =
        ByteBuffer.allocateDirect(4 * size).order(ByteOrder.nativeOrder()).asFloatBuffer()
}
