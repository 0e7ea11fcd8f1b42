package io.hydraopt.demo

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.ColorSpace
import android.graphics.Matrix
import android.media.ExifInterface
import android.net.Uri
import io.hydraopt.toPicture
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.IOException
import kotlin.math.max

/** A picture of another app, from `ACTION_OPEN_DOCUMENT`: upright, opaque and in sRGB. */
class DocumentPhoto(private val resolver: ContentResolver, private val uri: Uri) : Photo {
    override fun read(): Shot {
        val content = try {
            content()
        } catch (error: RuntimeException) { // of the other app, or for want of a permission
            throw IOException("$uri cannot be read: $error", error)
        }
        val bitmap = opaque(upright(decoded(content), orientation(content)))
        return Shot(bitmap.toPicture(), small(bitmap).toPicture())
    }

    private fun content(): ByteArray {
        val content = ByteArrayOutputStream()
        val source = resolver.openInputStream(uri) ?: throw IOException("$uri is gone")
        source.use {
            val block = ByteArray(1 shl 16)
            while (true) {
                val count = it.read(block)
                if (count < 0) return content.toByteArray()
                content.write(block, 0, count)
                if (content.size() > LARGEST) throw IOException("$uri has more than $LARGEST bytes")
            }
        }
    }

    /** A photo of very many pixels is made smaller while it is read, by powers of two. */
    private fun decoded(content: ByteArray): Bitmap {
        val options = BitmapFactory.Options()
        options.inJustDecodeBounds = true
        BitmapFactory.decodeByteArray(content, 0, content.size, options)
        val pixels = options.outWidth.toLong() * options.outHeight
        options.inJustDecodeBounds = false
        options.inSampleSize = 1
        while (pixels / options.inSampleSize / options.inSampleSize > PIXELS) {
            options.inSampleSize *= 2
        }
        options.inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)
        return BitmapFactory.decodeByteArray(content, 0, content.size, options)
            ?: throw IOException("$uri is no picture that Android can read")
    }

    private fun orientation(content: ByteArray): Int = ExifInterface(ByteArrayInputStream(content))
        .getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL)

    private fun opaque(bitmap: Bitmap): Bitmap {
        if (!bitmap.hasAlpha()) return bitmap
        val paper = Bitmap.createBitmap(bitmap.width, bitmap.height, Bitmap.Config.ARGB_8888)
        paper.eraseColor(Color.WHITE)
        Canvas(paper).drawBitmap(bitmap, 0f, 0f, null)
        return paper
    }

    private fun small(bitmap: Bitmap): Bitmap {
        val longest = max(bitmap.width, bitmap.height)
        if (longest <= PREVIEW) return bitmap
        val size = { edge: Int -> max(1, edge * PREVIEW / longest) }
        return Bitmap.createScaledBitmap(bitmap, size(bitmap.width), size(bitmap.height), true)
    }

    internal companion object {
        private const val LARGEST = 1 shl 26 // bytes of a file
        private const val PIXELS = 1 shl 24
        private const val PREVIEW = 720 // pixels of its longer edge

        /** EXIF's orientations: clockwise turns, after mirroring left and right. */
        private val TURNS = mapOf(
            ExifInterface.ORIENTATION_FLIP_HORIZONTAL to (0f to true),
            ExifInterface.ORIENTATION_ROTATE_180 to (180f to false),
            ExifInterface.ORIENTATION_FLIP_VERTICAL to (180f to true),
            ExifInterface.ORIENTATION_TRANSPOSE to (270f to true),
            ExifInterface.ORIENTATION_ROTATE_90 to (90f to false),
            ExifInterface.ORIENTATION_TRANSVERSE to (90f to true),
            ExifInterface.ORIENTATION_ROTATE_270 to (270f to false)
        )

        /** Turns a photo as its EXIF orientation says. */
        fun upright(bitmap: Bitmap, orientation: Int): Bitmap {
            val (degrees, isMirrored) = TURNS[orientation] ?: return bitmap
            val matrix = Matrix()
            if (isMirrored) matrix.postScale(-1f, 1f)
            matrix.postRotate(degrees)
            return Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, matrix, false)
        }
    }
}
