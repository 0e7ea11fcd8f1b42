package io.hydraopt.demo

import android.content.ContentResolver
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import io.hydraopt.Source
import java.io.IOException
import java.io.InputStream

/** A file or directory of another app, below a directory that the user picked. */
class DocumentSource private constructor(
    private val resolver: ContentResolver,
    private val uri: Uri,
    override val name: String,
    private val isDirectory: Boolean
) : Source {
    override val children: List<Source>?
        get() {
            if (!isDirectory) return null
            val id = DocumentsContract.getDocumentId(uri)
            val query = DocumentsContract.buildChildDocumentsUriUsingTree(uri, id)
            return query(resolver, query) { child, name, isDirectory ->
                val source = DocumentsContract.buildDocumentUriUsingTree(uri, child)
                DocumentSource(resolver, source, name, isDirectory)
            }
        }

    override fun open(): InputStream =
        asking { resolver.openInputStream(uri) } ?: throw IOException("$name is gone")

    companion object {
        private val COLUMNS = arrayOf(
            Document.COLUMN_DOCUMENT_ID,
            Document.COLUMN_DISPLAY_NAME,
            Document.COLUMN_MIME_TYPE
        )

        /** The root directory of a tree from `ACTION_OPEN_DOCUMENT_TREE`. */
        fun of(resolver: ContentResolver, tree: Uri): DocumentSource {
            val id = DocumentsContract.getTreeDocumentId(tree)
            val uri = DocumentsContract.buildDocumentUriUsingTree(tree, id)
            val name = Uri.decode(id).trimEnd('/').substringAfterLast('/').substringAfterLast(':')
            return DocumentSource(resolver, uri, name.ifEmpty { "bundle" }, isDirectory = true)
        }

        /** Rethrows exceptions of the other app. */
        private inline fun <T> asking(call: () -> T): T =
            try {
                call()
            } catch (error: SecurityException) {
                throw error
            } catch (error: RuntimeException) {
                throw IOException("its app fails with $error", error)
            }

        private fun <T> query(
            resolver: ContentResolver,
            uri: Uri,
            make: (String, String, Boolean) -> T
        ): List<T> {
            val rows = asking {
                resolver.query(uri, COLUMNS, null, null)?.use { cursor ->
                    val rows = ArrayList<T>()
                    while (cursor.moveToNext()) {
                        val isDirectory = cursor.getString(2) == Document.MIME_TYPE_DIR
                        rows.add(make(cursor.getString(0), cursor.getString(1) ?: "", isDirectory))
                    }
                    rows
                }
            }
            return rows ?: throw IOException("its app does not answer")
        }
    }
}
