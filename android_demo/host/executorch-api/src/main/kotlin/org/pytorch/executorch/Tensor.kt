package org.pytorch.executorch

import com.facebook.jni.HybridData
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer

/** Stand-in: numbers in a direct buffer and their shape. */
abstract class Tensor internal constructor(shape: LongArray) {
    @JvmField protected val shape: LongArray = shape.copyOf()

    private var mHybridData: HybridData? = null

    fun numel(): Long = numel(shape)

    fun shape(): LongArray = shape.copyOf()

    abstract fun dtype(): DType

    fun dtypeJniCode(): Int = dtype().jniCode

    open val dataAsFloatArray: FloatArray get() = unsupported()

    open fun copyDataInto(dst: FloatBuffer): Unit = unsupported()

    open fun getRawDataBuffer(): Buffer = unsupported()

    private fun unsupported(): Nothing = throw IllegalStateException("not for ${dtype()}")

    private class Bytes(val data: Buffer, shape: LongArray, val type: DType) : Tensor(shape) {
        override fun dtype() = type

        override fun getRawDataBuffer() = data
    }

    private class Floats(val data: FloatBuffer, shape: LongArray) : Tensor(shape) {
        override fun dtype() = DType.FLOAT

        override fun getRawDataBuffer(): Buffer = data

        override val dataAsFloatArray: FloatArray
            get() = FloatArray(data.capacity()).also { all().get(it) }

        override fun copyDataInto(dst: FloatBuffer) {
            dst.put(all())
        }

        private fun all(): FloatBuffer = data.duplicate().also { (it as Buffer).rewind() }
    }

    companion object {
        @JvmStatic
        fun fromBlobUnsigned(data: ByteBuffer, shape: LongArray): Tensor =
            of(data, data.order(), shape, DType.UINT8)

        @JvmStatic
        fun fromBlob(data: LongBuffer, shape: LongArray): Tensor =
            of(data, data.order(), shape, DType.INT64)

        @JvmStatic
        fun fromBlob(data: FloatBuffer, shape: LongArray): Tensor {
            of(data, data.order(), shape, DType.FLOAT)
            return Floats(data, shape)
        }

        @JvmStatic
        fun numel(shape: LongArray): Long = shape.fold(1L) { product, size -> product * size }

        private fun of(data: Buffer, order: ByteOrder, shape: LongArray, type: DType): Tensor {
            require(numel(shape) == data.capacity().toLong()) { "the buffer is not of the shape" }
            require(data.isDirect) { "the buffer is not direct" }
            require(order == ByteOrder.nativeOrder()) { "the buffer is not in native order" }
            return Bytes(data, shape, type)
        }

        /** Called from native code. */
        @JvmStatic
        private fun nativeNewTensor(
            data: ByteBuffer,
            shape: LongArray,
            dtype: Int,
            hybridData: HybridData
        ): Tensor {
            val tensor: Tensor = when (val type = DType.fromJniCode(dtype)) {
                DType.FLOAT -> Floats(data.asFloatBuffer(), shape)
                else -> Bytes(data, shape, type)
            }
            tensor.mHybridData = hybridData
            return tensor
        }
    }
}
