package io.hydraopt.demo

import android.content.pm.ProviderInfo
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.CancellationSignal
import android.os.ParcelFileDescriptor
import android.provider.DocumentsContract.Document
import android.provider.DocumentsProvider
import java.io.File
import org.robolectric.Robolectric

/** Another app that has a bundle or a picture; its documents' ids are paths. */
class Documents : DocumentsProvider() {
    override fun onCreate() = true

    override fun queryRoots(projection: Array<out String>?): Cursor = MatrixCursor(arrayOf())

    override fun queryDocument(documentId: String, projection: Array<out String>?): Cursor =
        rows(listOf(file(documentId)))

    override fun queryChildDocuments(
        parentDocumentId: String,
        projection: Array<out String>?,
        sortOrder: String?
    ): Cursor = rows(file(parentDocumentId).listFiles()!!.toList())

    override fun openDocument(
        documentId: String,
        mode: String,
        signal: CancellationSignal?
    ): ParcelFileDescriptor =
        ParcelFileDescriptor.open(file(documentId), ParcelFileDescriptor.MODE_READ_ONLY)!!

    override fun isChildDocument(parentDocumentId: String, documentId: String) =
        documentId.startsWith(parentDocumentId)

    private fun file(id: String): File {
        if (!permitted) throw SecurityException("Permission Denial")
        return File(bundle.parentFile, id)
    }

    private fun rows(files: List<File>): Cursor {
        val columns = arrayOf(
            Document.COLUMN_DOCUMENT_ID,
            Document.COLUMN_DISPLAY_NAME,
            Document.COLUMN_MIME_TYPE
        )
        val cursor = MatrixCursor(columns)
        for (file in files) {
            val id = file.toRelativeString(bundle.parentFile!!)
            val type = if (file.isDirectory) Document.MIME_TYPE_DIR else "application/octet-stream"
            cursor.addRow(arrayOf(id, file.name, type))
        }
        return cursor
    }

    companion object {
        const val AUTHORITY = "other.documents"
        private lateinit var bundle: File
        private var permitted = true

        /** Serves a file, and returns its address. */
        fun document(file: File, permitted: Boolean = true): Uri {
            serve(file, permitted)
            return Uri.parse("content://$AUTHORITY/document/${Uri.encode(file.name)}")
        }

        fun serve(bundle: File, permitted: Boolean = true) {
            this.bundle = bundle
            this.permitted = permitted
            val info = ProviderInfo()
            info.authority = AUTHORITY
            info.exported = true
            info.grantUriPermissions = true
            info.readPermission = "android.permission.MANAGE_DOCUMENTS"
            info.writePermission = "android.permission.MANAGE_DOCUMENTS"
            Robolectric.buildContentProvider(Documents::class.java).create(info)
        }
    }
}
